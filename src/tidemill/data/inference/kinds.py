"""What kind of values a column holds, decided over the whole column.

Every notation that fits a sample of a text column's values is tried on all of them, and the one that reads
the most is kept.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace

import polars as pl

from tidemill.data.cells import values
from tidemill.data.cells.epochs import EPOCHS
from tidemill.data.inference import agreement, facts, notations, remarks
from tidemill.data.inference.facts import READABLE, Facts
from tidemill.data.reading import collect
from tidemill.data.scalars import EXACT
from tidemill.data.schema import Column
from tidemill.errors import TidemillError, listed
from tidemill.settings import Kind

WORDS = ({"true", "false"}, {"yes", "no"}, {"t", "f"}, {"y", "n"})


def decide(
    frame: pl.LazyFrame,
    found: Mapping[str, Facts],
    wanted: Mapping[str, Kind],
    times: Collection[str],
    stated: Mapping[str, Column] | None = None,
) -> dict[str, Column | None]:
    """Kind and notation of every column in `found`; None where nothing reads a column as its wanted kind.

    Where several notations read a column equally well, it follows the other columns of the table.

    Args:
        wanted: the kind that is already settled, by column.
        times: text columns that are tried as timestamps before numbers ("20130131").
        stated: notations that are already settled, by column.
    """
    stated = stated or {}
    tries: dict[str, list[Column]] = {}
    for name, fact in found.items():
        if fact.dtype == pl.String:
            tries[name] = _notations(name, fact, wanted.get(name), stated.get(name), first_time=name in times)
        else:
            tries[name] = [_stored(name, fact, wanted.get(name), stated.get(name))]
    open_ = {name: columns for name, columns in tries.items() if len(columns) > 1}
    reads = _reads(frame, {name: columns[:-1] for name, columns in open_.items()}, found)
    decided: dict[str, Column | None] = {}
    best: dict[str, list[Column]] = {}
    for name, columns in tries.items():
        if name not in open_:
            decided[name] = columns[0] if wanted.get(name, columns[0].kind) is columns[0].kind else None
            continue
        most = max(reads[name])
        equal = [column for column, count in zip(columns, reads[name], strict=False) if count == most]
        enough = most > 0 if name in wanted or name in stated else most >= READABLE * found[name].values > 0
        if enough:
            best[name], fact = equal, found[name]
            said = remarks.notation(equal[0], fact), remarks.unread(equal[0], fact, most)
            decided[name] = remarks.with_reason(equal[0], *said)
        else:
            decided[name] = None if name in wanted else remarks.nearly(columns[-1], equal[0], found[name], most)
    return decided | agreement.settle(frame, best, decided, found, stated)


def moments(frame: pl.LazyFrame, name: str, error: type[TidemillError], *, setting: str, remedy: str) -> Column:
    """How a column of moments is read, that `setting` names.

    Raises:
        error: there is no such column, or its values are no moments.
    """
    there = frame.collect_schema()
    if name not in there:
        raise error(f"{setting} names a column", observed=f"{name!r}; the table has {listed(there)}", remedy=remedy)
    found = decide(frame, facts.count(frame, [name]), {}, [name])[name]
    if found is None or found.kind is not Kind.TIMESTAMP:
        observed = f"{name!r} is {found.kind if found else there[name]}"
        raise error(f"{setting} names a column of timestamps", observed=observed, remedy=remedy)
    return found


def _reads(frame: pl.LazyFrame, tries: Mapping[str, list[Column]], found: Mapping[str, Facts]) -> dict[str, list[int]]:
    """How many values each notation reads: counted on the different words, or in one pass if there are numbers too."""
    counts = {}
    expressions = []
    for name, columns in tries.items():
        fact = found[name]
        reading = [notations.reading(column, fact.dtype) for column in columns]
        if fact.numbers:
            expressions += [read.count().alias(f"{index}:{name}") for index, read in enumerate(reading)]
        else:
            words = fact.words.rename({"text": name, "count": f"{name} count"})
            weights = [pl.col(f"{name} count").filter(read.is_not_null()).sum() for read in reading]
            counts[name] = list(words.select(weight.alias(str(i)) for i, weight in enumerate(weights)).row(0))
    if expressions:
        row = collect(frame.select(expressions)).row(0, named=True)
        counts |= {name: [row[f"{i}:{name}"] for i in range(len(tries[name]))] for name in tries if name not in counts}
    return counts


def _stored(name: str, fact: Facts, wanted: Kind | None, stated: Column | None) -> Column:
    """A column that is not text says its kind by its type."""
    dtype = fact.dtype
    marks = tuple(fact.marks)
    if wanted is not None:
        pattern = _epoch(fact) if wanted is Kind.TIMESTAMP and dtype.is_numeric() else None
        pattern = stated.format if stated is not None and pattern and stated.format in EPOCHS else pattern
        column = Column(name=name, kind=wanted, format=pattern, missing_marks=marks)
        values.read(column, dtype)  # refuses what cannot be
        return column
    if dtype == pl.Boolean:
        return Column(name=name, kind=Kind.BOOLEAN)
    if dtype in (pl.Date, pl.Datetime):
        return Column(name=name, kind=Kind.TIMESTAMP)
    whole = dtype.is_integer() or (isinstance(dtype, pl.Decimal) and dtype.scale == 0)
    inexact = max(abs(fact.smallest or 0), abs(fact.largest or 0)) > EXACT
    if (dtype.is_numeric() or dtype in (pl.Duration, pl.Time)) and not (inexact and whole):
        return Column(name=name, kind=Kind.NUMERIC, missing_marks=marks)
    return Column(name=name, kind=Kind.CATEGORICAL, missing_marks=marks)


def _epoch(fact: Facts) -> str:
    """The unit in which the largest value lies before the year 2286."""
    largest = abs(fact.largest or 0)
    return next((unit for unit, limit in (("epoch_s", 1e10), ("epoch_ms", 1e13)) if largest < limit), "epoch_us")


def _notations(name: str, fact: Facts, wanted: Kind | None, stated: Column | None, *, first_time: bool) -> list[Column]:
    """What a text column may be, likeliest first; where nothing is settled, a category comes last."""
    marks = tuple(fact.number_marks)
    category = Column(name=name, kind=Kind.CATEGORICAL, missing_marks=tuple(fact.marks))
    if stated is not None:
        return [replace(stated, missing_marks=marks), category]
    if wanted is Kind.CATEGORICAL or (fact.present == 0 and wanted is None):
        return [category]
    if wanted is None and not first_time and not fact.words.height and not fact.codes:
        plain = Column(name=name, kind=Kind.NUMERIC, missing_marks=marks)
        both = agreement.dotted(plain, fact)
        return [plain, *both, category] if both else [plain]
    tries: list[Column] = []
    if first_time or wanted is Kind.TIMESTAMP:
        tries += notations.timestamps(name, fact.first)
    if wanted is Kind.TIMESTAMP and fact.numbers:
        tries.append(Column(name=name, kind=Kind.TIMESTAMP, format=_epoch(fact)))
    if wanted in (None, Kind.NUMERIC) and not (wanted is None and fact.codes):
        plain = Column(name=name, kind=Kind.NUMERIC)
        others = notations.numbers(name, fact.sample, plain=fact.numbers, any_unit=wanted is not None)
        tries += list(dict.fromkeys([plain, *others]))
    if wanted in (None, Kind.BOOLEAN):
        words = {text.strip().lower() for text in fact.sample}
        if wanted is Kind.BOOLEAN or any(words and words <= pair for pair in WORDS):
            tries.append(Column(name=name, kind=Kind.BOOLEAN))
    if wanted is None:
        tries += notations.timestamps(name, fact.sample)
    return [replace(column, missing_marks=marks) for column in tries] + [category]
