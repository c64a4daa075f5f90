"""Registries with versions to roll out."""

import uuid
from pathlib import Path

import pytest

from tidemill.bundle import checksums, manifest
from tidemill.bundle.manifest import Interface
from tidemill.bundle.registry.registry import Registry
from tidemill.data.schema import Column, Schema
from tidemill.data.target import Target
from tidemill.settings import Kind, Objective

WHY = {"by": "ann", "reason": "looks right"}


def fill(folder: Path) -> Path:
    inputs = (Column(name="x", kind=Kind.NUMERIC),)
    target = Target(name="y", objective=Objective.REGRESSION, classes=())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(bytes(1000))
    described = manifest.compose(
        "m", Interface.of(Schema(columns=inputs), inputs, target), target, data={}, results={}, settings={}
    )
    manifest.write(described, folder)
    checksums.write(folder)
    return folder


@pytest.fixture(params=["local", "memory"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Registry:
    """Three versions, none of them an alias yet."""
    registry = Registry(tmp_path / "registry" if request.param == "local" else f"memory://{uuid.uuid4().hex}")
    for _ in range(3):
        registry.add("m", fill(tmp_path / "staging"))
    return registry


@pytest.fixture
def local(tmp_path: Path) -> Registry:
    registry = Registry(tmp_path / "registry")
    for _ in range(3):
        registry.add("m", fill(tmp_path / "staging"))
    return registry
