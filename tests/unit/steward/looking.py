"""A steward that looks until nothing is left to do."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from served import HOUR, MODEL, NOW, Served

from patience import until
from tidemill.steward import policy
from tidemill.steward.book import Book
from tidemill.steward.policy import Authority
from tidemill.steward.retraining.command import Priority
from tidemill.steward.steward import Office, Steward

TRAINER = str(Path(__file__).with_name("trainer.py"))
BEGIN = NOW + 2 * HOUR
"""After all that the tests' registries say was done: arrivals lie in the near future, and so does `look`'s now."""


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    return Served(tmp_path)


def rules(mode: Any = Authority.ACT, **changes: Any) -> Any:
    given = policy.read(None)
    trial = {"minimum": 100, "canary": [0.5], "stage_minimum": 300, "probation": 1000}
    groups = {
        "time": {"label_wait_hours": 3.0},
        "trial": trial,
        "triggers": {"every_days": None, "on_harm": False},
        "retrain": {"command": ["python", TRAINER], "min_records": 100, "priority": Priority.LOW},
    }
    for name, group in groups.items():
        given = replace(given, **{name: replace(getattr(given, name), **{**group, **changes.get(name, {})})})
    return replace(given, mode=mode, watches={})


def office(served: Any) -> Any:
    return Office(
        registry=str(served.place / "registry"), model=MODEL, ledger=served.ledger, work=served.place / "work"
    )


def look(served: Any, hours: Any, given: Any = None, one: Any = None) -> Any:
    """Look until nothing is left to do, `hours` after the beginning."""
    one = one or Steward(office(served), given or rules())
    until(lambda: not one.look(BEGIN + hours * HOUR) and '"retraining": "' not in status_text(served))
    return one


def status_text(served: Any) -> Any:
    file = served.place / "ledger" / MODEL / "steward" / "status.json"
    return file.read_text() if file.exists() else ""


def kinds(served: Any) -> Any:
    return [str(one.kind) for one in Book(served.ledger, MODEL).decisions()]
