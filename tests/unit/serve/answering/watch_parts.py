"""Replicas of plain objects and of real predictors, and a watcher that looks when it is told to."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from patience import PATIENCE
from small_bundle import Small
from tidemill.bundle import manifest
from tidemill.bundle.manifest import Manifest
from tidemill.bundle.predictor import Predictor
from tidemill.bundle.registry.registry import Registry
from tidemill.errors import BundleError
from tidemill.serve.answering import compatibility
from tidemill.serve.answering.watch import Watcher
from tidemill.serve.hooks.observer import Refused, Swapped

WHY = {"by": "ann", "reason": "test"}


class Loaded:
    """What a version is to these tests: its number, and a predictor where there is one."""

    def __init__(self, number: str, predictor: Predictor | None = None) -> None:
        self.number = number
        self.predictor = predictor


class Plain:
    """A replica whose versions load at once, unless a test shuts their gate or names an error."""

    def __init__(self) -> None:
        self.active = None
        self.swaps = []
        self.events = []
        self.loads = []
        self.gates = {}
        self.errors = {}
        self.unfit = set()

    def load(self, version: str) -> Loaded:
        self.loads.append(version)
        if version in self.gates:
            assert self.gates[version].wait(PATIENCE)
        if version in self.errors:
            raise self.errors[version]
        return Loaded(version)

    def accepts(self, new: Loaded, active: Any) -> None:
        if (new.number, active.number) in self.unfit:
            raise BundleError("fits", observed=f"{new.number} beside {active.number}", remedy="none")

    def swap(self, active: Any) -> None:
        self.active = active
        challenger = active.challenger.number if active.challenger else None
        self.swaps.append((active.champion.number, challenger, active.mode, active.share, active.serving))

    def tell(self, event: Refused | Swapped) -> None:
        self.events.append(event)

    def told(self, kind: Any) -> list[Refused] | list[Swapped]:
        return [event for event in self.events if isinstance(event, kind)]


class Real(Plain):
    """A replica with predictors, as `tidemill serve` makes them."""

    def __init__(self, registry: Registry) -> None:
        super().__init__()
        self.registry = registry

    def load(self, version: str) -> Loaded:
        self.loads.append(version)
        with self.registry.fetched("small", version, verify=False) as folder:
            predictor = Predictor(folder, threads=1)
        compatibility.check_identity(predictor.manifest, "small", version)
        return Loaded(version, predictor)

    def accepts(self, new: Loaded, active: Any) -> None:
        compatibility.check(new.predictor.manifest, active.predictor.manifest)


@pytest.fixture(params=["local", "memory"])
def registry(request: pytest.FixtureRequest, tmp_path: Path, small_multiclass: Small) -> Registry:
    """Five versions of one bundle; the first is champion."""
    path = tmp_path / "registry" if request.param == "local" else f"memory://{uuid.uuid4().hex}"
    registry = Registry(path)
    for _ in range(5):
        registry.add("small", small_multiclass.folder)
    registry.promote("small", "1", **WHY)
    return registry


@pytest.fixture
def local(tmp_path: Path, small_multiclass: Small) -> Registry:
    registry = Registry(tmp_path / "registry")
    for _ in range(5):
        registry.add("small", small_multiclass.folder)
    registry.promote("small", "1", **WHY)
    return registry


@contextlib.asynccontextmanager
async def following(registry: Registry, replica: Any, **options: Any) -> AsyncIterator[Any]:
    """A watcher that looks when it is told to, unless `seconds` says otherwise."""
    watcher = Watcher(registry, "small", replica, **{"seconds": 3600, **options})
    await watcher.start()
    try:
        yield watcher
    finally:
        await watcher.stop()


async def follow(watcher: Watcher) -> None:
    await watcher.look()
    await asyncio.wait_for(watcher.settled(), PATIENCE)


def run(test: Any) -> None:
    asyncio.run(test)


@pytest.fixture
def described(small_multiclass: Small) -> Manifest:
    return manifest.read(small_multiclass.folder)
