"""Maturity: from which age on nearly all labels of a record's kind have come, whatever those labels say.

Where a label's delay depends on its value, the young records whose label is known already are no sample of all young
records: a cancellation is known at once, a stay only after it. A model that learns from them learns the delay. So only
records older than the maturity age are learnt from: by then a stated share of the labels of every class have come, and
the odds between classes are off by no more than that share.

Delays are estimated with the records that have no label yet, which are censored at their age: the product-limit
estimate (Kaplan & Meier, JASA 1958), with each class as a competing way for a record to be labelled (Aalen & Johansen,
Scand. J. Statist. 1978; Kalbfleisch & Prentice, The Statistical Analysis of Failure Time Data, 2002, chapter 8). It
assumes that delays did not depend on when a record was made.

Shape suffixes: T steps of time, K classes.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from tidemill.data.labels.delays import CLASSES, Delays, count, lumped, part_of, parts, step
from tidemill.errors import QualityError, listed

ENOUGH, LEAST = 100, 10
"""Records that must be of an age for what is said of it: a twentieth of all, but no more than the first of these and no
fewer than the second."""
_LATE = 0.75
"""The last quarter of the time that was looked at says whether labels still come."""
_SHOWN = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Young:
    """The records that are left out as they are younger than the maturity age.

    labelled: how many have a label already; classes: the share of these in each class, here (`young`) and among the
    labelled records that are old enough (`old`), those first that are too many among the young.
    """

    records: int
    labelled: int
    classes: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Maturity:
    """age: records older than this are learnt from. share: of the labels of every class, that have come by then.

    by_class: name, and the age by which that share of its labels have come. records: that are old enough, and of those
    the labelled ones.
    """

    age: timedelta
    share: float
    by_class: tuple[tuple[str, timedelta], ...] = ()
    records: int = 0
    labelled: int = 0
    young: Young = Young(records=0, labelled=0, classes=())

    def sentences(self) -> list[str]:
        """What was left out and why, for people."""
        young, slowest = self.young, max(self.by_class, key=lambda one: one[1], default=("", self.age))
        quickest = min(self.by_class, key=lambda one: one[1], default=slowest)
        said = [
            f"Learnt from are records older than {days(self.age)}: by then {self.share:.0%} of the labels of every "
            f"class have come ({_named(quickest)}{'' if slowest == quickest else f', {_named(slowest)}'})."
        ]
        if young.records:
            share = young.labelled / young.records
            text = f"Left out: {young.records:,} younger records. {share:.0%} of them have a label already"
            name, here, there = young.classes[0] if young.classes else ("", 0.0, 0.0)
            said.append(
                f"{text}; {here:.0%} of these are {name!r}, and {there:.0%} of older ones." if name else f"{text}."
            )
        return said


def measure(rows: pl.DataFrame, target: str, now: datetime, share: float, *, remedy: str) -> Maturity:
    """The maturity age of a table's records, as things stood at a moment.

    Args:
        rows: `moment` and `known` (when the label came; null: never) as timestamps, and the target.

    Raises:
        QualityError: as for `estimate`.
    """
    rows = rows.filter(pl.col("moment") < now)
    known = pl.when(pl.col("known") < now).then("known")
    text = pl.col(target).cast(pl.String)
    if rows.schema[target].is_numeric() and rows[target].n_unique() > CLASSES:
        text = part_of(target, parts(rows[target].drop_nulls()))
    delays = rows.select(age=pl.lit(now) - pl.col("moment"), delay=known - pl.col("moment"), label=text)
    oldest: timedelta = delays["age"].max() or timedelta()  # type: ignore[assignment]
    return estimate(count(delays, step(oldest)), share, remedy=remedy)


def estimate(delays: Delays, share: float, *, remedy: str) -> Maturity:
    """The age by which `share` of the labels of every class have come.

    What is to come after the highest age that enough records have is estimated from what came in the last quarter of
    that time: records without a label then are divided as those labels were, and no class gets more than would come at
    that quarter's pace in as long a time again. Where no more labels came, those records will never have one.

    Raises:
        QualityError: no age is enough: labels of a class still come at the highest age.
    """
    whole = delays.records
    rule = f"Records are learnt from once {share:.0%} of the labels of every class have come"
    if not delays.came["label"].count():
        raise QualityError(rule, observed=f"none of {whole:,} records has a label", remedy=remedy)
    came = delays.came.with_columns(lumped(delays.came))
    classes = came["label"].drop_nulls().unique().sort().to_list()
    enough = max(LEAST, min(ENOUGH, whole // 20))
    last = _highest(delays.ages, min(enough, whole))
    highest = f"the age of {days((last + 1) * delays.unit)}, the highest that {enough} records have"
    labels_TK, risk_T = _counted(came, classes, last)
    came_TK, left_T = _incidence(labels_TK, risk_T)
    left = float(left_T[-1])
    if len(classes) == 1 and left > 1 - share:
        observed = f"all labels that came are {classes[0]!r}, and up to {highest}, {left:.1%} of records have none"
        raise QualityError(rule, observed=observed, remedy=remedy)
    reached_TK = came_TK >= share * (came_TK[-1] + _rest(came_TK, left)) - 1e-12
    late = [name for at, name in enumerate(classes) if not reached_TK[:, at].any()]
    if late:
        slow = f"labels of {listed(late, _SHOWN, quoted=True)} still come"
        observed = f"{slow} at {highest}: {left:.1%} of records of that age have none yet"
        raise QualityError(rule, observed=observed, remedy=remedy)
    first_K = reached_TK.argmax(axis=0)
    reached = pl.DataFrame({"label": classes, "first": first_K})
    within = came.join(reached, on="label").filter(pl.col("step") <= pl.col("first"))
    by_class = tuple(within.group_by("label").agg(pl.col("longest").max()).sort("label").iter_rows())
    return _maturity(delays, max(one for _, one in by_class), share, by_class)


def _highest(ages: pl.DataFrame, enough: int) -> int:
    """The highest step of age that enough records have reached."""
    counts = ages.group_by("step").agg(pl.col("records").sum()).sort("step", descending=True)
    reached: int = counts.filter(pl.col("records").cum_sum() >= enough)["step"].max()  # type: ignore[assignment]
    return reached


def _counted(came: pl.DataFrame, classes: list[str], last: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of each class in each step up to `last` [T, K], and records without a label before it [T]."""
    steps = int(came["step"].max()) + 1  # type: ignore[arg-type]
    labels_TK, ended_T = np.zeros((steps, len(classes))), np.zeros(steps)
    for at, name in enumerate(classes):
        one = came.filter(pl.col("label") == name)
        np.add.at(labels_TK[:, at], one["step"].to_numpy(), one["records"].to_numpy())
    np.add.at(ended_T, came["step"].to_numpy(), came["records"].to_numpy())
    risk_T = ended_T[::-1].cumsum()[::-1]
    return labels_TK[: last + 1], risk_T[: last + 1]


def _incidence(labels_TK: np.ndarray, risk_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of all records that have a label of each class after each step, and that of records without any."""
    rate_TK = labels_TK / np.maximum(risk_T, 1)[:, None]
    left_T = np.cumprod(1 - rate_TK.sum(axis=1))
    before_T = np.concatenate([[1.0], left_T[:-1]])
    return np.cumsum(before_T[:, None] * rate_TK, axis=0), left_T


def _rest(came_TK: np.ndarray, left: float) -> np.ndarray:
    """Share of all records that are still to get a label of each class after the last step [K]; see `estimate`."""
    late_K: np.ndarray = came_TK[-1] - came_TK[int(_LATE * (len(came_TK) - 1))]
    if left <= 0 or late_K.sum() <= 0:
        return np.zeros(len(late_K))
    rest_K: np.ndarray = np.minimum(left * late_K / late_K.sum(), late_K / (1 - _LATE))
    return rest_K


def _maturity(delays: Delays, age: timedelta, share: float, by_class: tuple[tuple[str, timedelta], ...]) -> Maturity:
    ages = delays.ages.with_columns(lumped(delays.ages))
    first = int(age / delays.unit)
    old, young = (ages.filter(pl.col("step") > first), ages.filter(pl.col("step") <= first))
    shares = {name: (_share(young, name), _share(old, name)) for name, _ in by_class}
    differing = sorted(shares.items(), key=lambda one: one[1][1] - one[1][0])
    return Maturity(
        age=age,
        share=share,
        by_class=by_class,
        records=int(old["records"].sum()),
        labelled=_labelled(old),
        young=Young(
            records=int(young["records"].sum()),
            labelled=_labelled(young),
            classes=tuple((name, *both) for name, both in differing) if _labelled(young) else (),
        ),
    )


def _share(counts: pl.DataFrame, name: str) -> float:
    one = counts.filter(pl.col("label") == name)["records"].sum()
    return float(one / max(_labelled(counts), 1))


def _labelled(counts: pl.DataFrame) -> int:
    return int(counts.filter(pl.col("label").is_not_null())["records"].sum())


def _named(one: tuple[str, timedelta]) -> str:
    return f"{one[0]!r} after {days(one[1])}"


def days(duration: timedelta) -> str:
    """In whole units: 3 days, 5 hours, 20 minutes."""
    for unit, name in ((timedelta(days=1), "day"), (timedelta(hours=1), "hour"), (timedelta(minutes=1), "minute")):
        if duration >= 2 * unit or unit == timedelta(minutes=1):
            number = duration / unit
            return f"{number:,.0f} {name}{'' if round(number) == 1 else 's'}"
    raise AssertionError
