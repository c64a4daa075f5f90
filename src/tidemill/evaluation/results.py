"""What an evaluation says: plain values that go into the manifest, the report and the tracker.

A *loss* is what comparisons and the gate go by: mean log loss for classification, mean squared error
for regression; smaller is better.
"""

from dataclasses import dataclass

from tidemill.settings import Objective


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
class Baseline:
    """A simple model fitted on the training split and evaluated on the same rows as ours."""

    name: str
    metrics: tuple[Metric, ...]
    comparison: Comparison


@dataclass(frozen=True, kw_only=True, slots=True)
class Importance:
    """By how much the loss grows on validation rows when one raw column is permuted."""

    column: str
    increase: float
    lower: float
    upper: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """Everything measured on the test split (importance: on validation)."""

    objective: Objective
    rows: int
    metrics: tuple[Metric, ...]
    slices: tuple[Slice, ...]
    baselines: tuple[Baseline, ...]
    importance: tuple[Importance, ...]
