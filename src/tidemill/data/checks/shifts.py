"""Checks of whether validation and test are like train: in what is predicted, and in what is missing.

A difference counts when chance makes it hardly ever (`CERTAIN`) and it is large enough to matter.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl

from tidemill.data.checks.findings import Finding, Severity, noticed
from tidemill.data.tables import Tables, counted
from tidemill.errors import listed
from tidemill.settings import Objective, SplitMethod

CERTAIN = 4.0
"""Standard deviations by which a difference must exceed what chance makes."""
POINTS = 0.03
"""Difference of a class's share that matters."""
RELATIVE = 0.3
"""The same for a rare class, as a share of the larger of its shares."""
DEVIATIONS = 0.15
"""Difference of a numeric target's mean that matters, in its standard deviations."""
MISSING_POINTS = 0.1
"""Difference of the share of missing values that matters."""
SHOWN = 5


def target(tables: Tables) -> Iterator[Finding]:
    """The rate of what is predicted differs between train and another split."""
    if tables.target is None:
        return
    name = tables.target.name
    say = _mean if tables.target.objective is Objective.REGRESSION else _rate
    for split in ("validation", "test"):
        table = tables.splits[split]
        if not table.height or not tables.train.height:
            continue
        found = say(tables.train[name], table[name], split, tables.target.classes)
        if found is None:
            continue
        message, difference = found
        yield noticed("target_shift", Severity.WARNING, name, table.height, difference)(
            message=message,
            remedy="look for what changed. "
            + (
                "Rates that move with time make a model's probabilities old: train on recent rows and retrain often"
                if tables.settings.split.method is SplitMethod.TIME
                else "A split like the rows in use tells more: data.split.method=stratified, or time where there is one"
            ),
        )


def _rate(train: pl.Series, values: pl.Series, split: str, classes: tuple[str, ...]) -> tuple[str, float] | None:
    """The class whose share differs most; the positive one of two."""
    before, now = (dict(counted(part).iter_rows()) for part in (train, values))
    rows, others = sum(before.values()), sum(now.values())
    if not rows or not others:
        return None
    shares = {value: (before.get(value, 0) / rows, now.get(value, 0) / others) for value in [*before, *now]}
    order = sorted(shares, key=lambda value: (-round(abs(shares[value][0] - shares[value][1]), 9), str(value)))
    value = order[0]
    if len(shares) == 2 and classes:
        value = next((v for v in order if str(v).removesuffix(".0").lower() == classes[-1].lower()), value)
    old, new = shares[value]
    difference, rarer = abs(old - new), max(min(old, 1 - old), min(new, 1 - new))
    if difference < min(POINTS, RELATIVE * rarer) or difference < CERTAIN * _error(old, rows, new, others):
        return None
    shown = value if not isinstance(value, float) else f"{value:g}"
    return f"{train.name!r} is {shown!r} in {old:.1%} of train, but in {new:.1%} of {split}", difference


def _mean(train: pl.Series, values: pl.Series, split: str, classes: tuple[str, ...]) -> tuple[str, float] | None:
    old, new = (part.drop_nulls().to_numpy() for part in (train, values))
    old, new = old[np.isfinite(old)], new[np.isfinite(new)]
    if len(old) < 2 or len(new) < 2 or not np.ptp(old / 2):
        return None
    scale = max(float(np.abs(old).max()), float(np.abs(new).max()))  # squares of the largest floats overflow
    old, new = old / scale, new / scale
    spread, difference = float(old.std()), abs(float(new.mean() - old.mean()))
    error = float(np.sqrt(old.var() / len(old) + new.var() / len(new)))
    if difference < DEVIATIONS * spread or difference < CERTAIN * error or not spread:
        return None
    before, now = old.mean() * scale, new.mean() * scale
    message = f"{train.name!r} is {before:.6g} on average in train, but {now:.6g} in {split}"
    return f"{message} ({difference / spread:.2f} standard deviations apart)", min(difference / spread, 1.0)


def missing(tables: Tables) -> Iterator[Finding]:
    """Inputs that are missing at another rate than in train: one finding a split, for its largest differences."""
    names = tables.inputs()
    if not tables.train.height or not names:
        return
    old = tables.train[names].null_count().to_numpy()[0] / tables.train.height
    for split in ("validation", "test"):
        table = tables.splits[split]
        if not table.height:
            continue
        new = table[names].null_count().to_numpy()[0] / table.height
        difference = np.abs(new - old)
        error = _error(old, tables.train.height, new, table.height)
        large = np.flatnonzero((difference >= MISSING_POINTS) & (difference >= CERTAIN * error))
        large = large[np.argsort(-difference[large], kind="stable")]
        if not len(large):
            continue
        rates = listed((f"{names[i]!r} {old[i]:.1%} and {new[i]:.1%}" for i in large), SHOWN)
        only = names[large[0]] if len(large) == 1 else None
        yield noticed("missing_shift", Severity.WARNING, only, table.height, float(difference[large[0]]))(
            message=f"columns missing at another rate in {split} than in train (train and {split}): {rates}",
            remedy="look for what changed at their source; if they will be missing like this in use, "
            "train on rows that are, or add them to data.ignored",
        )


def _error(old: "np.ndarray | float", rows: int, new: "np.ndarray | float", others: int) -> "np.ndarray | float":
    """Standard error of the difference of two shares that are the same in truth."""
    share = (old * rows + new * others) / (rows + others)
    return np.sqrt(share * (1 - share) * (1 / rows + 1 / others))


CHECKS = (target, missing)
