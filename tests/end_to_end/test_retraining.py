"""A model is trained, its answers and their labels are recorded, and it is retrained on them, killed in between."""

import json
import os
import random
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from chain import MODEL, QUICK, ROOT, Run, train

from patience import until
from tidemill.bundle.predictor import Predictor
from tidemill.bundle.registry.registry import Registry
from tidemill.composition import build
from tidemill.data.raw import from_rows
from tidemill.ledger.ledger import Ledger
from tidemill.ledger.record import Answered, Described, Form, Label, Role
from tidemill.ledger.settings import LedgerSettings
from tidemill.steward.retraining.aging import Horizon
from tidemill.steward.retraining.command import RetrainSettings
from tidemill.steward.retraining.retraining import Phase, Retraining, State

pytestmark = pytest.mark.slow
START = datetime(2026, 1, 1, tzinfo=UTC)


def record(number: int) -> dict[str, Any]:
    """One an hour; in production comes a town that the base table has not."""
    draw = random.Random(number)
    towns = ["Bern", "Basel", "Zürich"] + (["Chur"] if number >= 1000 else [])
    size, town = draw.gauss(50, 20), draw.choice(towns)
    bought = (size - 50) / 20 + (town in ("Bern", "Chur")) + draw.gauss(0, 0.5) > 0.3
    at = (START + timedelta(hours=number)).isoformat()
    return {"name": f"r{number}", "at": at, "size": size, "town": town, "bought": "yes" if bought else "no"}


JOB = ["+experiment=table", "data.target=bought", "data.key=name", "data.time=at", "data.time_is_input=true", *QUICK]
JOB += [*MODEL, "tracking.wandb=disabled", "data.split.method=time", "evaluation.baselines=[trivial]"]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The champion, trained on a CSV that ends after 1,000 hours."""
    folder = tmp_path_factory.mktemp("retraining")
    pl.DataFrame([record(number) for number in range(1000)]).write_csv(folder / "base.csv")
    return train(folder / "run", folder / "registry", *JOB, f"data.path={folder / 'base.csv'}", "name=town")


def answer(first: Run, ledger: LedgerSettings, numbers: range) -> None:
    """What a replica does: the predictor's answers into the ledger, and the labels when they come."""
    predictor = Predictor(first.bundle)
    manifest = predictor.manifest
    book = Ledger(ledger, "town")
    book.describe(
        Described("1", manifest.interface.schema, str(manifest.identity.objective), tuple(manifest.identity.classes))
    )
    for number in numbers:
        row = record(number)
        sent = {name: row[name] for name in ("name", "at", "size", "town")}
        found = predictor.predict(from_rows([sent], predictor.columns, others=["name"]))
        at = int((START + timedelta(hours=number)).timestamp()) * 10**9
        content = json.dumps({"rows": [sent]}).encode()
        book.answered([Answered(f"q{number}", at, "1", Role.CHAMPION, 1.0, 900, Form.ROWS, content, None, found)])
        book.labelled([Label(f"q{number}-0", row["bought"], at + 3600 * 10**9)])
    book.close()


def test_a_retraining_survives_kills_and_makes_one_version(first: Run, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(ROOT)
    ledger = LedgerSettings(path=str(tmp_path / "ledger"), ship_seconds=1)
    answer(first, ledger, range(900, 1500))
    words = [
        "python",
        "train.py",
        *JOB,
        f"data.path={first.folder.parent / 'base.csv'}",
        "training.max_epochs=25",
        "gate.margin=1",
    ]
    values = {"command": words, "history": "aged", "window_days": None, "half_life_days": 30, "warm_start": True}
    values |= {
        "validation_days": 4,
        "test_days": 6,
        "min_records": 100,
        "mature_share": 0.95,
        "runner": "process",
        "ray_address": None,
        "hours": 1,
        "threads": 1,
        "priority": "normal",
        "attempts": 3,
    }
    retraining = Retraining(
        settings=build(RetrainSettings, values, "retrain"),
        folder=tmp_path / "work" / "decision-7",
        ledger=ledger,
        registry=str(first.registry),
        model="town",
        horizon=Horizon(until=START + timedelta(hours=1399), known_before=START + timedelta(hours=1400)),
    )
    assert retraining.advance() == State(phase=Phase.RUNNING, attempts=1)
    run = retraining.folder / "run"
    until(lambda: (run / "checkpoints" / "last.ckpt").is_file())
    os.kill(_pid(retraining.folder), signal.SIGKILL)
    epochs = len((run / "history.jsonl").read_text().splitlines())
    assert epochs < 25
    until(lambda: retraining.advance().attempts == 2)
    until(lambda: retraining.advance().ended)
    state = retraining.state()
    log = (retraining.folder / "attempt-2.log").read_text()
    assert (state.phase, state.version, state.attempts) == (Phase.DONE, "2", 2), state.why or log
    assert state.reasons and state.passed is not None
    registry = Registry(first.registry)
    assert registry.versions("town") == ["1", "2"]
    assert registry.aliases("town") == {"champion": "1", "candidate": "2"}, "the gate's verdict is the steward's to use"
    assert "parameters taken" in (retraining.folder / "attempt-1.log").read_text()
    assert "Warm start" not in log and f"epoch {epochs}/25" not in log, "it was resumed, after the last whole epoch"
    described = registry.describe("town", "2")
    assert sum(described.data["rows"].values()) == 1399, "1,000 of the base, of which 100 were answered again"
    assert described.data["rows"]["test"] == 6 * 24 + 1
    assert described.interface.schema["columns"]["age_weight"]["role"] == "weight"
    _registered_before_the_kill(retraining, registry)


def _registered_before_the_kill(retraining: Retraining, registry: Registry) -> None:
    """As if the kill had come before anything was noted: the version is found, and nothing trained again."""
    (retraining.folder / "outcome.json").unlink()
    (retraining.folder / "run" / "result.json").unlink()
    state = retraining.advance()
    assert (state.phase, state.version, state.attempts) == (Phase.DONE, "2", 2)
    assert registry.versions("town") == ["1", "2"]


def _pid(folder: Path) -> int:
    """Of the process whose run's folder lies in `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().decode()
            except OSError:
                continue
            if f"hydra.run.dir='{folder / 'run'}'" in command:
                found.append(int(entry.name))
    (pid,) = found
    return pid
