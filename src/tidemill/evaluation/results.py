"""What an evaluation says: plain values that go into the manifest, the report and the tracker.

A *loss* is what comparisons and the gate go by: mean log loss for classification, mean squared error
for regression; smaller is better.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tidemill.data.target import Labels
from tidemill.settings import Objective

MAIN = {Objective.BINARY: "auroc", Objective.MULTICLASS: "accuracy", Objective.REGRESSION: "rmse"}
"""The metric that people are told first."""

Answers = Mapping[str, np.ndarray]
"""`probabilities` [rows, classes], or `value` and perhaps `lower` and `upper` [rows]; other names are ignored."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Answered:
    """Rows whose truth is known, with a model's answers: what every figure is computed from.

    labels: shape [rows]; class index (int64), or value (float64) for regression.
    """

    objective: Objective
    labels: Labels
    answers: Answers

    def __post_init__(self) -> None:
        assert all(len(answer) == len(self.labels) for answer in self.answers.values()), "one answer a row"

    @property
    def probabilities(self) -> np.ndarray:
        """Shape [rows, classes], float64."""
        return np.asarray(self.answers["probabilities"], dtype=np.float64)

    @property
    def value(self) -> np.ndarray:
        """Shape [rows], float64."""
        return np.asarray(self.answers["value"], dtype=np.float64)

    @property
    def predicted(self) -> np.ndarray:
        """Index of the most probable class, the first of equals, as in the exported graph."""
        return np.asarray(np.argmax(self.answers["probabilities"], axis=1))

    def take(self, rows: np.ndarray) -> "Answered":
        """Some of the rows, by number or mask."""
        answers = {name: answer[rows] for name, answer in self.answers.items()}
        return Answered(objective=self.objective, labels=self.labels[rows], answers=answers)


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One figure on one set of rows, with its bootstrap interval (None: not asked for, or undefined)."""

    name: str
    value: float
    lower: float | None
    upper: float | None
    higher_is_better: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Slice:
    """The rows on which `column` has `value`."""

    column: str
    value: str
    rows: int
    metrics: tuple[Metric, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A paired difference in loss on the same rows: ours minus theirs, so negative means ours is better."""

    loss: str
    difference: float
    lower: float
    upper: float
    level: float
    rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """Two models in the objective's main metric on the same rows; lower, upper: of ours minus theirs, paired."""

    metric: str
    ours: float
    theirs: float
    lower: float
    upper: float
    higher_is_better: bool

    @property
    def better(self) -> bool:
        """Ours, for certain."""
        return self.lower > 0 if self.higher_is_better else self.upper < 0

    @property
    def worse(self) -> bool:
        """Ours, for certain."""
        return self.upper < 0 if self.higher_is_better else self.lower > 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """A simple model fitted on the training split and evaluated on the same rows as ours.

    standing: null where the main metric is undefined on these rows.
    """

    name: str
    metrics: tuple[Metric, ...]
    comparison: Comparison
    standing: Standing | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Importance:
    """By how much the loss grows on validation rows when one raw column is permuted."""

    column: str
    increase: float
    lower: float
    upper: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """Everything measured on the test split (importance: on validation).

    unmeasured: names of metrics that are left out because the test split has no row of some class.
    """

    objective: Objective
    rows: int
    metrics: tuple[Metric, ...]
    slices: tuple[Slice, ...]
    baselines: tuple[Baseline, ...]
    importance: tuple[Importance, ...]
    unmeasured: tuple[str, ...] = ()
