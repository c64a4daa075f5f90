"""The leak test: no single column may give the target away.

Each input's power to predict the target alone is measured on a sample of the training split, as the
best of three scores:

- value: the number or timestamp as it is, rising or falling;
- rate: the target's mean by category or by quantile bin of the number, learned on other folds of the
  sample, so that a column of names cannot score by memory;
- missing: whether there is a value at all.

Scores are AUROC (classes: each against the rest, weighted by frequency) or absolute Spearman
correlation (regression).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from tidemill.data.checks.findings import Finding, Severity, noticed
from tidemill.data.tables import SEED, Tables, counted, sample
from tidemill.settings import Objective
from tidemill.settings.overrides import word

ROWS = 50_000
FOLDS = 5
BINS = 64
"""Quantile bins of a numeric column; numbers with fewer distinct values are taken as they are."""
CATEGORIES = 2_000
"""The most frequent; the others count as one."""
CLASSES = 20
"""The most frequent classes are scored."""
SMOOTHING = 2.0
"""Rows of the overall mean that are added to each category."""
ENOUGH = 20
"""Rows on either side, below which a perfect score can be chance."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """How well one column predicts the target alone (0.5 or 0: not at all; 1: perfectly), and through what."""

    column: str
    value: float
    through: str


def check(tables: Tables, found: list[Score]) -> Iterator[Finding]:
    """An error for each column at or above `quality.leak_threshold`; and the strongest column, as information.

    Args:
        found: the `scores` of the tables.
    """
    assert tables.target is not None
    measure = "absolute rank correlation" if tables.target.objective is Objective.REGRESSION else "AUROC"
    found = sorted(found, key=lambda score: -score.value)
    threshold, allowed = tables.settings.quality.leak_threshold, tables.settings.quality.allow_leaks
    for score in found:
        if score.value >= threshold:
            declared = score.column in allowed
            severity = Severity.INFO if declared else Severity.ERROR
            yield noticed("leak", severity, score.column, tables.train.height, 1.0)(
                message=f"{score.column!r} alone predicts {tables.target.name!r} by its {score.through} with "
                f"{measure} {score.value:.4f} (limit {threshold:g})"
                + (": declared honest in data.quality.allow_leaks" if declared else ""),
                remedy=f"if the value is only known after the prediction, add {word('data.ignored', [score.column])}; "
                f"if it is honest, add {score.column} to data.quality.allow_leaks",
            )
    if found and found[0].value < threshold:
        yield noticed("strongest_column", Severity.INFO, found[0].column, tables.train.height, 1.0)(
            message=f"{found[0].column!r} predicts best of all columns alone: {measure} {found[0].value:.3f} "
            f"by its {found[0].through}",
            remedy="make sure that its value is known at the moment of prediction",
        )


def scores(tables: Tables) -> list[Score]:
    """One score for each input, on the training split; none where there are too few rows to tell."""
    assert tables.target is not None
    name = tables.target.name
    inputs = [column.name for column in tables.schema.inputs if column.name != name]
    rows = sample(tables.train.filter(tables.train[name].is_not_null()), ROWS)
    classes = tables.target.objective is not Objective.REGRESSION
    outcomes = one_against_rest(rows[name]) if classes else [ranks(rows[name])]
    folds = np.random.default_rng(SEED).integers(0, FOLDS, rows.height)
    found = []
    for column in inputs:
        effect, through = _strongest(rows[column], outcomes, folds)
        found.append(Score(column=column, value=(1 + effect) / 2 if classes else effect, through=through))
    return found


def one_against_rest(labels: pl.Series) -> list[np.ndarray]:
    """A mask of rows for each class; two classes need one mask only."""
    classes = counted(labels)["value"].head(CLASSES)
    if labels.n_unique() == 2:
        classes = classes.head(1)
    return [(labels == name).to_numpy() for name in classes]


def _strongest(values: pl.Series, outcomes: list[np.ndarray], folds: np.ndarray) -> tuple[float, str]:
    """The strongest effect of a column, between 0 and 1, and through what it comes."""
    present = values.is_not_null().to_numpy()
    presence = ranks(pl.Series(present))
    effects = {"missing values": _effect(outcomes, lambda _: presence)}
    if values.dtype == pl.String:
        codes = categories(values)
        effects["category"] = by_rate(codes, outcomes, folds)
    else:
        order, ranges = ranks(values)[present], bins(values)
        effects["value range"] = by_rate(ranges, outcomes, folds)
        others = [outcome[present] for outcome in outcomes]
        others = [one if one.dtype == bool else ranks(pl.Series(one)) for one in others]
        effects["value"] = _effect(others, lambda _: order)
    through = max(effects, key=lambda name: effects[name])
    return effects[through], through


def by_rate(codes: np.ndarray, outcomes: list[np.ndarray], folds: np.ndarray) -> float:
    """Strength of association of the outcomes with their rate by code, learned on other folds; between 0 and 1."""
    return _effect(outcomes, lambda outcome: _rates(codes, outcome, folds), signed=True)


def _effect(
    outcomes: list[np.ndarray], ranks_for: Callable[[np.ndarray], np.ndarray], *, signed: bool = False
) -> float:
    """Mean strength of association of ranks with the outcomes, by how many rows an outcome has.

    signed: only a rising association counts, as rates that are learned out of fold fall with chance alone.
    """
    total = weight = 0.0
    for outcome in outcomes:
        positive = int(outcome.sum()) if outcome.dtype == bool else len(outcome) // 2
        if min(positive, len(outcome) - positive) < ENOUGH:
            continue
        measure = _two_auroc_minus_one if outcome.dtype == bool else _correlation
        effect = measure(ranks_for(outcome), outcome)
        total += positive * (max(effect, 0.0) if signed else abs(effect))
        weight += positive
    return total / weight if weight else 0.0


def _two_auroc_minus_one(ranks: np.ndarray, positive: np.ndarray) -> float:
    """By Mann and Whitney: the difference of mean ranks, in units of half the rows."""
    return float(ranks[positive].mean() - ranks[~positive].mean()) * 2 / len(ranks)


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / scale if scale > 0 else 0.0


def _rates(codes: np.ndarray, outcome: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Rank of each row's predicted outcome: the smoothed mean by code over the rows of the other folds."""
    width = int(codes.max(initial=0)) + 1
    cells = folds * width + codes
    counts = np.bincount(cells, minlength=FOLDS * width).reshape(FOLDS, width)
    totals = np.bincount(cells, outcome, FOLDS * width).reshape(FOLDS, width)
    others, other_totals = counts.sum(0) - counts, totals.sum(0) - totals
    rates = (other_totals + SMOOTHING * outcome.mean()) / (others + SMOOTHING)
    steps, which = np.unique(rates.ravel().round(9), return_inverse=True)
    per_step = np.bincount(which, counts.ravel(), len(steps))
    step_ranks = np.cumsum(per_step) - per_step / 2
    return np.asarray(step_ranks[which][cells])


def ranks(values: pl.Series) -> np.ndarray:
    """Average ranks as float64; NaN where missing."""
    return values.rank("average").cast(pl.Float64).to_numpy()


def bins(values: pl.Series, most: int = BINS) -> np.ndarray:
    """Codes from 0: missing, then distinct values where they are few, or else quantile bins."""
    steps = values.rank("dense").cast(pl.Float64)
    if int(steps.max() or 0) > most:  # type: ignore[arg-type]
        present = len(values) - values.null_count()
        steps = (values.rank("average").cast(pl.Float64) * most / (present + 1)).floor() + 1
    return steps.fill_null(0).cast(pl.Int64).to_numpy()


def categories(values: pl.Series, most: int = CATEGORIES) -> np.ndarray:
    """Codes from 0: missing, all rarer categories together, then the most frequent ones."""
    known = counted(values)["value"].head(most)
    codes = values.replace_strict(known, pl.int_range(2, len(known) + 2, eager=True), default=1, return_dtype=pl.Int64)
    return np.where(values.is_null().to_numpy(), 0, codes.to_numpy())
