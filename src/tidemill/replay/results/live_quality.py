"""What versions promised on their test split, what their answers were worth live, and what a constant is worth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tidemill.bundle.answers import Answers
from tidemill.bundle.manifest import Manifest
from tidemill.data.target import Labels, Target
from tidemill.evaluation.comparison import row_losses
from tidemill.evaluation.intervals import Bootstrap
from tidemill.evaluation.metrics import compute
from tidemill.evaluation.results import Answered
from tidemill.replay.results import difference
from tidemill.replay.results.difference import Difference
from tidemill.report.numerals import estimate, metric_name, number, share
from tidemill.settings import Objective

_PLAIN = Bootstrap(level=0.95, number=0, seed=0)
SHIFTED = 0.03
"""By which a class must be more or less frequent than in what was learnt from to be named as a reason."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """lower, upper: of its 95% interval; None: not known."""

    value: float
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveQuality:
    """who: like "version 2". promised, live: the loss; days are resampled for the interval of the live one.

    constant: the loss of a constant answer on the same records, against which `less` compares. score: auroc or r2,
    where there is one, as promised and live.
    """

    who: str
    rows: int
    promised: Figure | None
    live: Figure
    constant: float
    less: Difference
    score: str | None
    promised_score: Figure | None
    live_score: float | None

    @property
    def broken(self) -> bool:
        """Live is worse than promised, beyond both intervals."""
        if self.promised is None or self.live.lower is None:
            return False
        highest = self.promised.upper if self.promised.upper is not None else self.promised.value
        return self.live.lower > highest

    @property
    def trivial(self) -> bool:
        """A constant answer is better."""
        return self.less.difference > 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Constant:
    """The answer that does not look at the record: class frequencies [K], or the mean [1], of what was learnt from."""

    values: np.ndarray

    @classmethod
    def of(cls, target: Target, labels: Labels) -> "Constant":
        if target.objective is Objective.REGRESSION:
            return cls(values=np.array([labels.mean()]))
        counts = np.bincount(labels, minlength=len(target.classes)) + 1.0  # a class that is to come is not impossible
        return cls(values=counts / counts.sum())

    def answers(self, rows: int) -> Answers:
        if len(self.values) == 1:
            return {"value": np.full(rows, self.values[0])}
        return {"probabilities": np.tile(self.values, (rows, 1))}


def weighed(
    who: str, manifest: Manifest, labels: Labels, answers: Answers, constant: Constant, days_N: np.ndarray
) -> LiveQuality:
    """What a version promised against what these answers came to.

    Args:
        labels, answers: [N] records. days_N: equal for records of one day.
    """
    objective = manifest.identity.objective
    ours = Answered(objective=objective, labels=labels, answers=answers)
    theirs = Answered(objective=objective, labels=labels, answers=constant.answers(len(labels)))
    losses_N, constant_N = row_losses(ours), row_losses(theirs)
    mean = difference.between(losses_N, np.zeros(len(losses_N)), days_N)
    less = difference.between(losses_N, constant_N, days_N)
    assert mean is not None and less is not None
    metrics: Sequence[Mapping[str, Any]] = (manifest.results.get("test") or {}).get("metrics", ())
    score = "r2" if objective is Objective.REGRESSION else "auroc"
    live = {metric.name: metric.value for metric in compute(ours, _PLAIN)}
    return LiveQuality(
        who=who,
        rows=len(labels),
        promised=_loss(metrics, objective),
        live=Figure(value=mean.difference, lower=_finite(mean.lower), upper=_finite(mean.upper)),
        constant=float(constant_N.mean()),
        less=less,
        score=score if score in live else None,
        promised_score=_figure(metrics, score),
        live_score=live.get(score),
    )


def verdict(found: Sequence[LiveQuality], loss: str) -> tuple[bool, list[str]]:
    """Whether answers were as good as promised and better than a constant; and what there is to say, worst first.

    Args:
        found: of all answers together, whose promise is that of the versions that gave them; then of each version.
    """
    name, whole = metric_name(loss), found[0]
    said = []
    if whole.trivial:
        sure = " for certain" if whole.less.lower > 0 else ""
        said.append(
            f"Live answers were worse than a constant answer{sure}: {name} {_of(whole.live)}, where a constant fitted "
            f"to what was learnt from has {number(whole.constant)}."
        )
    broken = [one for one in found if one.broken]
    for one in broken:
        assert one.promised is not None
        score = ""
        if one.score and one.promised_score is not None and one.live_score is not None:
            promised = number(one.promised_score.value, 3)
            score = f"; {metric_name(one.score)} {number(one.live_score, 3)} instead of {promised}"
        said.append(
            f"Worse than promised, {one.who}: {name} {_of(one.live)} live on {one.rows:,} records, where the test "
            f"split promised {_of(one.promised)}{score}."
        )
    if said:
        return False, said
    if any(one.promised is not None for one in found):
        return True, [f"Live answers were no worse than promised: {name} {_of(whole.live)}{_against(whole)}."]
    return True, [f"No version promised anything: its test split has no {name} with an interval."]


def mean(found: Sequence[LiveQuality]) -> Figure | None:
    """The mean of what versions promised, each for the records that it answered; None where one promised nothing."""
    promised = [one.promised for one in found if one.promised is not None]
    if len(promised) < len(found):
        return None
    rows = [one.rows for one in found]

    def averaged(ends: Sequence[float | None]) -> float | None:
        known = [end for end in ends if end is not None]
        return float(np.average(known, weights=rows)) if len(known) == len(rows) else None

    value = averaged([one.value for one in promised])
    assert value is not None
    return Figure(
        value=value,
        lower=averaged([one.lower for one in promised]),
        upper=averaged([one.upper for one in promised]),
    )


def shifted(constant: Constant, target: Target, labels: Labels) -> list[str]:
    """Which classes were more or less frequent live than in what was learnt from: a reason for a broken promise."""
    if target.objective is Objective.REGRESSION or not len(labels):
        return []
    live = np.bincount(labels, minlength=len(target.classes)) / len(labels)
    apart = np.abs(live - constant.values)
    worst = int(apart.argmax())
    if apart[worst] < SHIFTED:
        return []
    before, now = share(float(constant.values[worst])), share(float(live[worst]))
    return [f"{target.classes[worst]!r} was {now} of the live records, and {before} of those that were learnt from."]


def _against(one: LiveQuality) -> str:
    promised = f", promised {_of(one.promised)}" if one.promised is not None else ""
    return f"{promised}, a constant answer {number(one.constant)}"


def _of(figure: Figure) -> str:
    return estimate(figure.value, figure.lower, figure.upper)


def _loss(metrics: Sequence[Mapping[str, Any]], objective: Objective) -> Figure | None:
    """Log loss, or the squared error that follows from the rmse."""
    if objective is not Objective.REGRESSION:
        return _figure(metrics, "log_loss")
    root = _figure(metrics, "rmse")
    if root is None:
        return None
    ends = [None if end is None else end**2 for end in (root.lower, root.upper)]
    return Figure(value=root.value**2, lower=ends[0], upper=ends[1])


def _figure(metrics: Sequence[Mapping[str, Any]], name: str) -> Figure | None:
    for metric in metrics:
        if metric["name"] == name:
            return Figure(value=metric["value"], lower=metric["lower"], upper=metric["upper"])
    return None


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
