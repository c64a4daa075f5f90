"""Bundles of a few files, and registries for them."""

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


def fill(folder: Path, size: int = 1000) -> Path:
    """The registry does not look into a model: any bytes will do here."""
    inputs = (Column(name="x", kind=Kind.NUMERIC),)
    target = Target(name="y", objective=Objective.REGRESSION, classes=())
    interface = Interface.of(Schema(columns=inputs), inputs, target)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(bytes(size))
    manifest.write(manifest.compose("m", interface, target, data={}, results={}, settings={}), folder)
    checksums.write(folder)
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return fill(tmp_path / "staging")


@pytest.fixture(params=["local", "memory"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry" if request.param == "local" else f"memory://{uuid.uuid4().hex}")
