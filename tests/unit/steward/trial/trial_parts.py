"""A trial with rules of its own, fed with what was served."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from served import MODEL, NOW, Served

from tidemill.bundle.manifest import Identity
from tidemill.settings import Objective
from tidemill.steward import losses, policy
from tidemill.steward.policy import Clock, TrialSettings
from tidemill.steward.records import Records, Span
from tidemill.steward.trial.comparison import Comparison, Stage
from tidemill.steward.trial.trial import Trial

BEGIN = NOW - timedelta(hours=40)
IDENTITY = Identity(model=MODEL, version="1", created="", objective=Objective.BINARY, classes=["no", "yes"])


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(tmp_path)


def rules(**changes: Any) -> TrialSettings:
    given = policy.read(None).trial
    return replace(given, **{"minimum": 0, "gain": None, "margin": 0.0, **changes})


def trial(
    stage: Stage = Stage.SHADOW, share: float = 0.0, carried: dict[Any, Any] | None = None, **changes: Any
) -> Trial:
    tried, other = ("1", "2") if stage is Stage.PROBATION else ("2", "1")
    comparison = Comparison(stage=stage, tried=tried, other=other, share=share)
    loss = losses.make(policy.read(None).losses, IDENTITY)
    return Trial.begin(rules(**changes), comparison, loss, carried)


def feed(one: Trial, served: Served, version: str = "2") -> Trial:
    records = Records(served.ledger, MODEL, Clock.ARRIVAL, None)
    span = Span(begin=BEGIN, end=NOW, since=BEGIN)
    for piece in records.labelled(span, NOW + timedelta(days=9)):
        one.take(piece, records.shadows(piece, version))
    return one
