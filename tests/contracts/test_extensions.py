"""The extensions in examples/extending are what the documents say: each is plugged in and used."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import yaml

from reread import reread
from tidemill.composition import build
from tidemill.data import sources
from tidemill.data.checks.findings import Severity
from tidemill.data.schema import Column, Schema
from tidemill.data.tables import Tables
from tidemill.evaluation.results import Answered
from tidemill.ledger.record import Answered as Event, Form, Role
from tidemill.models.inputs import ModelInputs
from tidemill.serve.hooks import observing
from tidemill.settings import DataSettings, Kind, Objective
from tidemill.steward import policy
from tidemill.steward.watching import watches
from watched_rows import DAY, START, period, watched

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT))


def test_a_model() -> None:
    from examples.extending import model

    values = yaml.safe_load((ROOT / "examples/extending/conf/model/corrected.yaml").read_text())
    assert values.pop("name") == model.__name__
    numeric_BN = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    categorical_BC = torch.arange(64)[:, None] % 4
    inputs = ModelInputs(numeric_BN=numeric_BN, cardinalities=(4,), outputs=2)
    network = model.build(build(model.Settings, values, "model"), inputs)
    logits_BEK = network(numeric_BN, categorical_BC)
    assert logits_BEK.shape == (64, 1, 2)
    logits_BEK.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters() if parameter.requires_grad)


def test_a_source() -> None:
    table = yaml.safe_load((ROOT / "conf/data/table.yaml").read_text())
    given = {**table, "source": "examples.extending.source", "target": "high", "options": {"rows": 50}}
    frame = sources.open(build(DataSettings, given, "data"))
    assert frame.collect().shape == (50, 3)


def test_an_observer(tmp_path: Path) -> None:
    observer = observing.load("examples/extending/observer.py:Slow", path=str(tmp_path / "slow.txt"), milliseconds=5)
    for name, latency in (("quick", 4_000), ("slow", 6_000)):
        answered = Event(name, 0, "1", Role.CHAMPION, 1.0, latency, Form.ROWS, b"", None, {})
        observer.answered(answered)
    observer.close()
    assert (tmp_path / "slow.txt").read_text() == "slow 6000\n"


def test_a_watch(tmp_path: Path) -> None:
    settings = {"label": "yes", "most": 0.5, "alpha": 0.01}
    (tmp_path / "policy.yaml").write_text(json.dumps({"watches": {"examples.extending.watch": settings}}))
    made = watches(policy.read(tmp_path / "policy.yaml"))["examples.extending.watch"](watched(Objective.BINARY))
    rows = period(np.random.default_rng(0), 300, START, objective=Objective.BINARY)
    made.take(rows.with_columns(label=pl.lit("no")))
    assert not any(reading.alarm for reading in made.close(START, START + DAY))
    made.take(rows.with_columns(label=pl.lit("yes")))
    (reading,) = made.close(START + DAY, START + 2 * DAY)
    again = watches(policy.read(tmp_path / "policy.yaml"))["examples.extending.watch"](watched(Objective.BINARY))
    again.state = reread(made.state)
    again.take(rows.with_columns(label=pl.lit("yes")))
    (later,) = again.close(START + timedelta(days=2), START + timedelta(days=3))
    assert later.alarm and later.log_e > reading.log_e


def test_a_metric() -> None:
    from examples.extending.metric import CERTAIN

    probabilities = np.array([[0.95, 0.05], [0.5, 0.5], [0.2, 0.8], [0.05, 0.95]], dtype=np.float32)
    answered = Answered(
        objective=Objective.BINARY, labels=np.array([0, 0, 1, 1]), answers={"probabilities": probabilities}
    )
    assert CERTAIN.value(answered) == 0.5
    assert CERTAIN.kernel(answered)(np.array([[1, 1, 1, 1], [2, 2, 0, 0]])).tolist() == [0.5, 0.5]


def test_a_check() -> None:
    from examples.extending.check import negative

    table = pl.DataFrame({"hours": [40.0] * 199 + [-40.0], "gain": [-1.0, 1.0] * 100})
    given: Any = {"settings": None, "target": None, "quarantined": ()}
    schema = Schema(columns=tuple(Column(name=name, kind=Kind.NUMERIC) for name in table.columns))
    (found,) = negative(Tables(train=table, validation=table, test=table, schema=schema, **given))
    assert (found.column, found.severity, found.rows) == ("hours", Severity.WARNING, 1)


def test_no_example_is_left_without_a_page() -> None:
    pages = {path.stem for path in (ROOT / "docs/extending").glob("*.md")} - {"index"}
    assert pages == {path.stem for path in (ROOT / "examples/extending").glob("*.py")}
