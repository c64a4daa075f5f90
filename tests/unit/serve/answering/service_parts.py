"""Two versions of one model, a ledger, and what tests of one replica's service ask of them."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving_parts import OTHERS, ROW, Got, entries, varied

from patience import PATIENCE
from tidemill.bundle.registry.registry import Mode, Registry
from tidemill.data.raw import from_rows
from tidemill.ledger.ledger import Ledger
from tidemill.ledger.record import Answered
from tidemill.ledger.settings import LedgerSettings
from tidemill.serve.answering.active import Active
from tidemill.serve.answering.version import Version
from tidemill.serve.wire import arrow

ARROW = [("Content-Type", arrow.TYPE.decode())]


@dataclass(frozen=True)
class Two:
    """A registry with two versions that answer differently, and both loaded."""

    registry: Registry
    champion: Version
    challenger: Version

    def canary(self, share: float = 0.5) -> Active:
        return Active(champion=self.champion, challenger=self.challenger, mode=Mode.CANARY, share=share)

    def expected(self, version: Version, rows: list[dict[str, Any]]) -> np.ndarray:
        plain = [{name: value for name, value in row.items() if name not in version.reader.others} for row in rows]
        return version.predictor.predict(from_rows(plain, version.reader.columns))["probabilities"]


@pytest.fixture(scope="module")
def two(small_multiclass: Any, tmp_path_factory: pytest.TempPathFactory) -> Two:
    place = tmp_path_factory.mktemp("two")
    registry = Registry(place / "registry")
    for name, shift in (("one", 0.0), ("other", 3.0)):
        registry.add("small", varied(small_multiclass.folder, place / name, columns=OTHERS, shift=shift))
    registry.promote("small", "1", by="me", reason="first")
    champion, challenger = (Version(place / "registry/small" / number) for number in "12")
    return Two(registry, champion, challenger)


@dataclass(frozen=True)
class Kept:
    """A ledger that ships nothing while the tests look, and its folder."""

    ledger: Ledger
    folder: Path

    def of(self, id: str) -> list[Answered]:
        return [entry for entry in entries(self.folder) if isinstance(entry, Answered) and entry.id == id]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    folder = tmp_path_factory.mktemp("ledger")
    ledger = Ledger(LedgerSettings(path=str(folder), ship_seconds=3600), "small")
    yield Kept(ledger, folder)
    ledger.close()


def rows_of(count: int) -> list[dict[str, Any]]:
    return [{**ROW, "size": 10.0 * row, "id": f"k{row}"} for row in range(count)]


def probabilities(got: Got) -> np.ndarray:
    predictions = got.json["predictions"]
    return np.array([list(prediction["probabilities"].values()) for prediction in predictions], np.float32)


def request_of(got: Got) -> str:
    return str(got.json["predictions"][0]["id"]).rpartition("-")[0]


def alone(version: Version) -> Active:
    return Active(champion=version)


class Held_up:  # noqa: N801
    """A version's session that waits for a gate, so that what comes meanwhile gathers."""

    def __init__(self, version: Version, monkeypatch: Any) -> None:
        self.gate, self.entered, self.runs = threading.Event(), threading.Event(), 0
        run = version.predictor._runtime

        def slowly(raw: Any) -> Any:
            self.runs += 1
            self.entered.set()
            assert self.gate.wait(PATIENCE)
            return run(raw)

        monkeypatch.setattr(version.predictor, "_runtime", slowly)
        monkeypatch.setattr(version.cost, "fixed", 10.0)  # so that it runs in the thread

    async def begun(self) -> None:
        assert await asyncio.to_thread(self.entered.wait, PATIENCE)
