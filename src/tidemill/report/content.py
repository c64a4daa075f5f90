"""What a run's report is made of: plain values, gathered by the pipeline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tidemill.bundle.registry.gate import Verdict
from tidemill.data.checks.findings import Finding
from tidemill.data.schema import Schema
from tidemill.data.target import Labels, Target
from tidemill.evaluation.results import Evaluation


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """What calibration changed, on rows it was not fitted on.

    measures: name → (before, after).
    temperature: classification: the divisor of the logits, from which the curve before is redrawn; null: none fitted.
    coverage: regression: share of answers that the interval shall cover.
    """

    measures: Mapping[str, tuple[float, float]]
    temperature: float | None = None
    coverage: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportContent:
    """Everything one report shows. Parts that a run does not have are empty or None.

    name: of the model in the registry, which gives the version only when the bundle, this report included, is whole.
    created: ISO 8601.
    source: where the table came from, in the user's words.
    settings: nested, without secrets: they are shown in full.
    split, rows: how the splits were made, and split → rows.
    quarantined: rows set aside because they broke a rule.
    profile: the reference profile (of the training split).
    history: per epoch: epoch, train_loss, validation_loss, learning_rate, seconds.
    labels, answers: of the test split, in the same order of rows (`data/target.py`, `bundle/answers.py`).
    level: confidence level of the intervals.
    parity: figures of the export's agreement with the model, by name.
    command, versions: to make the same run again.
    """

    name: str
    created: str
    source: str
    settings: Mapping[str, Any]
    schema: Schema
    target: Target
    findings: Sequence[Finding]
    split: str
    rows: Mapping[str, int]
    quarantined: int
    profile: Mapping[str, Any]
    history: Sequence[Mapping[str, float]]
    labels: Labels
    answers: Mapping[str, np.ndarray]
    evaluation: Evaluation
    level: float
    calibration: Calibration | None
    parity: Mapping[str, float | int | str]
    verdict: Verdict | None
    command: str
    versions: Mapping[str, str]
