"""What a run's report is made of: plain values, gathered by the pipeline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidemill.bundle.registry.gate import Verdict
from tidemill.data.checks.findings import Finding
from tidemill.data.schema import Schema
from tidemill.data.target import Target
from tidemill.evaluation.results import Answered, Evaluation


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
class SplitCounts:
    """How the splits were made, their rows, and the rows that were set aside because they broke a rule."""

    method: str
    rows: Mapping[str, int]
    quarantined: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DataContent:
    """The table.

    source: where it came from, in the user's words. profile: the reference profile (of the training split).
    """

    source: str
    schema: Schema
    target: Target
    findings: Sequence[Finding]
    split: SplitCounts
    profile: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ResultsContent:
    """The test split's answers, and what they are worth. level: confidence level of the intervals."""

    answered: Answered
    evaluation: Evaluation
    level: float
    calibration: Calibration | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reproduction:
    """What makes the same run again.

    created: ISO 8601. settings: nested, without secrets: they are shown in full. versions: of packages, by name.
    """

    created: str
    command: str
    settings: Mapping[str, Any]
    versions: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ReportContent:
    """Everything one report shows. Parts that a run does not have are empty or None.

    name: of the model in the registry, which gives the version only when the bundle, this report included, is whole.
    history: per epoch: epoch, train_loss, validation_loss, learning_rate, seconds.
    parity: figures of the export's agreement with the model, by name.
    """

    name: str
    data: DataContent
    history: Sequence[Mapping[str, float]]
    test: ResultsContent
    parity: Mapping[str, float | int | str]
    verdict: Verdict | None
    reproduction: Reproduction
