"""A base table and the labelled records of production together: what a served model is trained on again.

`data.options`: base (the source of the base table, which gets every option not named here), until, label_time,
labels_before, mature_share, records, window_days, half_life_days.
"""

import dataclasses
import logging
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

import polars as pl

from tidemill.composition import Rule, build
from tidemill.data import made_moments, schema_file, sources
from tidemill.data.cells import parsing, values
from tidemill.data.cells.epochs import EPOCHS
from tidemill.data.checks import label_times
from tidemill.data.inference import facts, kinds
from tidemill.data.labels import maturity
from tidemill.data.reading import FAILURES, collect, without_panic_text
from tidemill.data.schema import Column
from tidemill.data.sources.files import existing_file
from tidemill.errors import SettingsError, SourceError, listed
from tidemill.moments import instant
from tidemill.settings import DataSettings, Kind, Positive
from tidemill.settings.rules import Instant, Share

LOG = logging.getLogger(__name__)

AGE_WEIGHT = "age_weight"
"""The column that weights by age stand in, where the base table has no weights of its own."""


MAKES_MOMENTS = True
"""The base is read through `sources.open`, which makes them; the records get theirs here."""
WAITS_FOR_LABELS = True
"""Of the base, as things stood at its own end; the records were old enough for whoever exported them."""


_Base = Rule("what data.source was, like files: the source of the base table", lambda value: value != "production")


@dataclass(kw_only=True)
class Options:
    base: Annotated[str, _Base]
    until: Annotated[str, Instant] | None = None
    """Rows of the base table from this moment on are left out; null takes it whole."""
    label_time: str | None = None
    """A column of the base table that says when each row's label became known; it is no column of what is read."""
    labels_before: Annotated[str, Instant] | None = None
    """With label_time: rows whose label became known at this moment or later, or never, are left out; null: those
    without a label alone."""
    mature_share: Annotated[float, Share] | None = None
    """With label_time, and no `until`: rows so young that this share of the labels of every class had not come by
    `labels_before` (or the newest label) are left out; null: every row with a label."""
    records: str | None = None
    """A Parquet file of labelled records, with columns of the base table; null: none yet."""
    window_days: Annotated[float, Positive] | None = None
    """Only rows of this many days before the newest one; null: all."""
    half_life_days: Annotated[float, Positive] | None = None
    """A row so much older than the newest one counts half; null: all count alike."""

    @property
    def timed(self) -> list[str]:
        """Options that go by `data.time`."""
        names = ("until", "label_time", "window_days", "half_life_days")
        return [name for name in names if getattr(self, name) is not None]


def read(settings: DataSettings) -> pl.LazyFrame:
    """Rows of the base table, then the records. A record that is in both, by `data.key`, is taken from production.

    Columns that production does not have are null there; a weight is 1. Of a record with several answers, the latest
    is taken.

    Raises:
        SettingsError: an option, or what it needs, is not set.
        SourceError: the file of records is not there, or does not fit the base table.
    """
    options, base = _base(settings)
    time = _time(base, settings, options)
    if time is not None and options.label_time is not None:
        base, options = _labelled(base, time, settings, options, options.label_time)
    if time is not None and options.until is not None:
        base = base.filter(values.read(time, base.collect_schema()[time.name]) < instant(options.until))
    if options.records is not None:
        base = _joined(base, _records(options.records, base, settings), settings)
    return base if time is None else _aged(base, time, settings, options)


def _base(settings: DataSettings) -> tuple[Options, pl.LazyFrame]:
    names = [field.name for field in dataclasses.fields(Options)]
    options = build(Options, {name: it for name, it in settings.options.items() if name in names}, "data.options")
    for name in ("validation_path", "test_path"):
        if (path := getattr(settings, name)) is not None:
            raise SettingsError(
                "With data.source=production splits are cut off by data.split, as the newest records must be in test",
                observed=f"data.{name} = {path!r}",
                remedy=f"set data.{name}=null and data.split.method=time",
            )
    if options.label_time is None and settings.label_time is not None:
        options = dataclasses.replace(options, label_time=settings.label_time, mature_share=settings.mature_share)
    others = {name: value for name, value in settings.options.items() if name not in names}
    base = sources.open(dataclasses.replace(settings, source=options.base, options=others, limit=None))
    return options, values.cleaned(base)  # as the records' texts are, which keys are compared with


def _labelled(
    base: pl.LazyFrame, time: Column, settings: DataSettings, options: Options, name: str
) -> tuple[pl.LazyFrame, Options]:
    """The rows whose label was known, without the column that says when, and the options with `until` found out."""
    remedy = "name the column that says when each label became known, or set data.options.label_time=null"
    known = kinds.moments(base, name, SettingsError, setting="data.options.label_time", remedy=remedy)
    stored = base.collect_schema()
    at = values.read(known, stored[name])
    latest = None if options.labels_before is None else instant(options.labels_before)
    if options.until is None and options.mature_share is not None:
        if settings.target is None or settings.target not in stored:
            raise SettingsError(
                "data.options.mature_share needs the labels, in the column that data.target names",
                observed=f"data.target = {settings.target!r}",
                remedy="set data.target, or data.options.mature_share=null",
            )
        goal = _columns(base, [settings.target], settings)[settings.target]
        goal = goal if goal.kind is Kind.NUMERIC else Column(name=goal.name, kind=Kind.CATEGORICAL)  # "yes" stays "yes"
        rows = label_times.read(base, time, known, goal)
        now: datetime = latest or rows["known"].max()  # type: ignore[assignment]
        remedy = "train later, when more labels have come; or lower data.options.mature_share: some bias is the price"
        found = maturity.measure(rows, label_times.LABEL, now, options.mature_share, remedy=remedy)
        LOG.warning("%s", " ".join(found.sentences()))
        options = dataclasses.replace(options, until=(now - found.age).isoformat())
    chosen = at.is_not_null() if latest is None else at < latest
    base = base.filter(chosen.fill_null(False))
    return base if name == settings.label_time else base.drop(name), options


def _time(base: pl.LazyFrame, settings: DataSettings, options: Options) -> Column | None:
    """How the base table's moments are read; None where no option asks for them."""
    if not options.timed:
        return None
    column = _columns(base, [settings.time], settings)[settings.time] if settings.time else None
    if column is None or column.kind is not Kind.TIMESTAMP:
        raise SettingsError(
            f"data.options.{options.timed[0]} needs the moment of each row, a timestamp that data.time names",
            observed=f"data.time = {settings.time!r}" + (f", which is {column.kind}" if column else ""),
            remedy="set data.time, and data.kinds.COLUMN=timestamp where that is not seen by itself",
        )
    return column


def _columns(base: pl.LazyFrame, names: Collection[str], settings: DataSettings) -> dict[str, Column]:
    """Kinds and notations of some columns of the base table, as inference will find them or the pinned schema has."""
    there = base.collect_schema().names()
    if absent := [name for name in names if name not in there]:
        raise SourceError(
            "A column that settings name must be in the base table",
            observed=f"{absent[0]!r}; the table has {listed(there)}",
            remedy="correct the name, or data.options.base",
        )
    if settings.schema is not None:
        pinned = {column.name: column for column in schema_file.read(settings.schema).columns}
        return {name: pinned.get(name, Column(name=name, kind=Kind.CATEGORICAL)) for name in names}
    wanted = settings.kinds | ({settings.key: Kind.CATEGORICAL} if settings.key else {})
    times = [settings.time] if settings.time else []
    decided = kinds.decide(base, facts.count(base, list(names)), wanted, times)
    return {name: column or Column(name=name, kind=wanted[name]) for name, column in decided.items()}


def _records(file: str, base: pl.LazyFrame, settings: DataSettings) -> pl.DataFrame:
    """The file's rows, each column of them in the base table, the target among them."""
    try:
        with without_panic_text():
            records = pl.read_parquet(existing_file(file, "data.options.records"), glob=False)
    except FAILURES as error:
        raise _unfit(f"{file} cannot be read as Parquet: {str(error).splitlines()[0][:200]}") from error
    records = collect(made_moments.fill(records.lazy(), made_moments.declared(settings)))
    there = base.collect_schema().names()
    if unknown := [name for name in records.columns if name not in there]:
        raise _unfit(f"{file} has {unknown[0]!r}; the base table has {listed(there)}")
    if settings.target is not None and settings.target not in records.columns:
        raise _unfit(f"{file} has no column {settings.target!r}, which data.target names")
    if settings.weight in there and settings.weight is not None:
        given = pl.col(settings.weight) if settings.weight in records.columns else pl.lit(None, pl.Float64)
        records = records.with_columns(given.fill_null(1.0).alias(settings.weight))
    return records


def _joined(base: pl.LazyFrame, records: pl.DataFrame, settings: DataSettings) -> pl.LazyFrame:
    """Base and records as one table. A column that they store differently is read by its kind on both sides.

    Only text stays text: what cannot be read is reported later, row by row.
    """
    stored = base.collect_schema()
    found = records.schema
    odd = [name for name in records.columns if found[name] != stored[name]]
    columns = _columns(base, odd, settings) if odd else {}
    read = {name: values.read(Column(name=name, kind=columns[name].kind), found[name]) for name in odd}
    fitted = records.with_columns(read.values())
    for name in odd:
        empty = records.select(values.present(columns[name], found[name])).to_series().is_null()
        if lost := int((fitted[name].is_null() & ~empty).sum()):
            kind = columns[name].kind
            raise _unfit(
                f"{lost:,} of the records' values of {name!r} cannot be read as {kind}, which it is in the base"
            )
    base = base.with_columns(values.read(columns[name], stored[name]) for name in odd if stored[name] != pl.String)
    if settings.key in records.columns:
        named = fitted.filter(pl.col(settings.key).is_not_null())
        if settings.time in records.columns:
            named = named.sort(settings.time, maintain_order=True)
        named = named.unique(settings.key, keep="last", maintain_order=True)
        fitted = pl.concat([fitted.filter(pl.col(settings.key).is_null()), named])
        base = base.join(named.lazy().select(settings.key), on=settings.key, how="anti", maintain_order="left")
    fitted = fitted.with_columns(_written(columns[name]) for name in odd if stored[name] == pl.String)
    return pl.concat([base, fitted.lazy()], how="diagonal")


def _written(column: Column) -> pl.Expr:
    """Typed values as text in the notation of the base table's column."""
    value = pl.col(column.name)
    if column.kind is Kind.TIMESTAMP and column.format in EPOCHS:
        return (value.dt.epoch("us") / EPOCHS[column.format]).cast(pl.String)
    if column.kind is Kind.TIMESTAMP:
        return value.dt.strftime(max(str(column.format).split(parsing.OR), key=len).replace("%#z", "%z"))
    text = value.cast(pl.String)
    return text.str.replace(".", ",", literal=True) if column.decimal_comma else text


def _aged(table: pl.LazyFrame, time: Column, settings: DataSettings, options: Options) -> pl.LazyFrame:
    stored = table.collect_schema()
    if options.window_days is None and options.half_life_days is None:
        return table
    moment = values.read(time, stored[time.name])
    newest = collect(table.select(moment.max())).item()
    if options.window_days is not None and isinstance(newest, datetime):
        table = table.filter(moment >= newest - timedelta(days=options.window_days))
    if options.half_life_days is None:
        return table
    age = (pl.lit(newest) - moment) / timedelta(days=options.half_life_days)
    weight = 0.5**age
    if settings.weight in stored and settings.weight is not None:
        own = _columns(table, [settings.weight], settings)[settings.weight]
        return table.with_columns(values.read(own, stored[own.name]).cast(pl.Float64) * weight)
    if settings.weight != AGE_WEIGHT:
        raise SettingsError(
            f"data.options.half_life_days makes weights, so data.weight must name them ({AGE_WEIGHT}), or a column "
            "of the table to be multiplied with them",
            observed=f"data.weight = {settings.weight!r}",
            remedy=f"set data.weight={AGE_WEIGHT}",
        )
    return table.with_columns(weight.alias(AGE_WEIGHT))


def _unfit(observed: str) -> SourceError:
    return SourceError(
        "The records of production must have columns of the base table, the target among them, and fit their kinds",
        observed=observed,
        remedy="correct data.options.records or data.options.base, or export the records again",
    )
