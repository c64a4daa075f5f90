"""The leak test of two columns: what gives the target away only together, like a status date and an arrival date.

Each pair of inputs is cut into cells of both columns' bins or categories; a pair scores as a column does in `leaks`, by
the rate of its cell on other folds. It is one that gives the target away where it scores `ENOUGH` and each column alone
scores much less: a column that does it alone is what `leaks` names. Limits: a sample of `ROWS` training rows, `PAIRS`
pairs (all of up to 45 columns; of more, those with the strongest columns), the `CLASSES` most frequent classes.
"""

from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations, islice

import numpy as np
import polars as pl

from tidemill.data.checks import leaks, record_time
from tidemill.data.checks.findings import Finding, Severity, noticed
from tidemill.data.schema import Schema
from tidemill.data.tables import SEED, Tables, sample, with_null
from tidemill.data.target import Target
from tidemill.settings import DataSettings, Kind, Objective

ROWS = 10_000
PAIRS = 1_000
CLASSES = 3
CELL = 3
"""Rows of a cell on average, if values spread evenly: of fewer rows, columns are cut into fewer bins and categories."""
BINS = (8, 64)
"""The fewest and the most bins or categories of a column; rarer categories count as one."""
ENOUGH = 0.95
GAIN = 0.1
"""By how much a pair must be ahead of either column alone."""


def check(tables: Tables) -> Iterator[Finding]:
    """Columns and the pair that give the target away, and whether the table should be split by one of its moments."""
    if tables.target is None:
        return
    scores = leaks.scores(tables)
    yield from leaks.check(tables, scores)
    singles = {score.column: score.value for score in scores}
    strongest = _strongest(tables, singles)
    if strongest is not None:
        yield _finding(tables, *strongest, singles)
    yield from record_time.suggest(tables, _known_late(tables, singles, strongest))


def moments(table: pl.DataFrame, schema: Schema, settings: DataSettings, target: Target) -> list[str]:
    """Columns that may be `data.time`, the likeliest first; none that gives the target away, alone or with another.

    Args:
        table: typed, whole.
    """
    parts = {"train": with_null(table), "validation": table.clear(), "test": table.clear()}
    tables = Tables(**parts, quarantined=(), schema=schema, settings=settings, target=target)
    singles = {score.column: score.value for score in leaks.scores(tables)}
    return record_time.candidates(tables.train, schema, _known_late(tables, singles, _strongest(tables, singles)))


def _strongest(tables: Tables, singles: dict[str, float]) -> tuple[float, tuple[str, str], str] | None:
    """The pair that gives the target away most, its score, and the column of it that does it; None where none does."""
    found = list(pairs(tables, singles))
    strong = [(score, pair) for score, pair in found if score >= max(ENOUGH, _alone(pair, singles) + GAIN)]
    if not strong:
        return None
    score, pair = max(strong)
    stamps = {column.name for column in tables.schema.inputs if column.kind is Kind.TIMESTAMP}
    return score, pair, _giver(pair, found, singles, stamps)


def _known_late(
    tables: Tables, singles: dict[str, float], strongest: tuple[float, tuple[str, str], str] | None
) -> set[str]:
    """Columns that give the target away: whatever they say was known only after the prediction."""
    threshold = tables.settings.quality.leak_threshold
    alone = {name for name, value in singles.items() if value >= threshold}
    return alone if strongest is None else alone | {strongest[2]}


def pairs(tables: Tables, singles: dict[str, float]) -> Iterator[tuple[float, tuple[str, str]]]:
    """Scores of pairs, on a sample of the training split."""
    assert tables.target is not None
    name = tables.target.name
    rows = sample(tables.train.filter(tables.train[name].is_not_null()), ROWS)
    classes = tables.target.objective is not Objective.REGRESSION
    outcomes = leaks.one_against_rest(rows[name])[:CLASSES] if classes else [leaks.ranks(rows[name])]
    folds = np.random.default_rng(SEED).integers(0, leaks.FOLDS, rows.height)
    most = int(np.clip(np.sqrt(rows.height / CELL), *BINS))
    codes: dict[str, np.ndarray] = {}
    for pair in islice(_in_order(singles), PAIRS):
        for column in pair:
            if column not in codes:
                coded = leaks.categories if rows[column].dtype == pl.String else leaks.bins
                codes[column] = coded(rows[column], most)
        first, second = (codes[column] for column in pair)
        cells = first * (int(second.max(initial=0)) + 1) + second
        effect = leaks.by_rate(cells, outcomes, folds)
        yield (1 + effect) / 2 if classes else effect, pair


def _in_order(singles: dict[str, float]) -> Iterator[tuple[str, str]]:
    """Pairs of the strongest column with all others, then of the next strongest."""
    names = sorted(singles, key=lambda name: -singles[name])
    return combinations(names, 2)


def _alone(pair: tuple[str, str], singles: dict[str, float]) -> float:
    """The score of the stronger column alone."""
    return max(singles[column] for column in pair)


def _giver(
    pair: tuple[str, str], found: list[tuple[float, tuple[str, str]]], singles: dict[str, float], moments: set[str]
) -> str:
    """The column of the pair that helps the others most, as one that is known too late does with every date.

    moments: preferred between equals.
    """
    gains: dict[str, float] = defaultdict(float)
    for score, others in found:
        for column in others:
            gains[column] += max(score - _alone(others, singles), 0.0)
    return max(pair, key=lambda column: (round(gains[column], 2), column in moments))


def _finding(tables: Tables, score: float, pair: tuple[str, str], giver: str, singles: dict[str, float]) -> Finding:
    assert tables.target is not None
    measure = "absolute rank correlation" if tables.target.objective is Objective.REGRESSION else "AUROC"
    declared = not set(pair).isdisjoint(tables.settings.quality.allow_leaks)
    other = pair[0] if giver == pair[1] else pair[1]
    severity = Severity.INFO if declared else Severity.WARNING
    return noticed("joint_leak", severity, giver, min(tables.train.height, ROWS), 1.0)(
        message=f"{giver!r} together with {other!r} predicts {tables.target.name!r} with {measure} {score:.3f}, "
        f"where neither alone has more than {_alone(pair, singles):.3f}: it may be known only after the prediction"
        + (" (declared honest in data.quality.allow_leaks)" if declared else ""),
        remedy=f"run once more with {giver} in data.ignored and compare the figures on test; if its value is only "
        f"known after the prediction, leave it there, and if it is honest, add {giver} to data.quality.allow_leaks",
    )
