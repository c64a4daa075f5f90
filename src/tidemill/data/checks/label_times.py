"""When labels came (`data.label_time`): records that are old enough to be learnt from, and what delays say of labels.

Where some labels come sooner than others, records that have one already are no sample of all records: see `maturity`.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import sqrt

import polars as pl

from tidemill.data.cells import values
from tidemill.data.checks.findings import Finding, Severity, noticed
from tidemill.data.labels import maturity
from tidemill.data.labels.delays import CLASSES, FEW, part_of, parts
from tidemill.data.labels.maturity import Maturity, days
from tidemill.data.reading import collect
from tidemill.data.schema import Column, Role, Schema
from tidemill.errors import QualityError, SettingsError
from tidemill.settings import DataSettings, Kind

LOG = logging.getLogger(__name__)
SHARE = 0.95
"""Of the labels of every class, where no setting says it: odds between classes are off by at most a twentieth then,
which costs a log loss of at most 0.0004."""
EFFECT = 0.05
"""How far from 1/2 the share of pairs in which a class has the later label must be for delays to depend on labels."""
CERTAIN = 4.0
"""Standard deviations of that share under equal delays."""
SHOWN = 3
"""Classes that a message lists."""
LABEL = "label"
_MOMENT, _CAME = "moment", "known"


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassDelay:
    """Delays of one class: how many labels, by when half of them have come, and how often they come after others' (of
    pairs with another class; .5: as late as those)."""

    label: str
    records: int
    median: timedelta
    later: float


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelTimes:
    """What `data.label_time` makes of the tables, and what it shows about delays.

    frames: the tables, by the setting that names each, with the records that are learnt from. end: the newest moment
    of the table of `data.path`. rows: of that table; unlabelled: of these, without a label. maturity: None where
    labels of a class still come at its end, which `why` says then. delays: by class, of records that are old enough;
    those that are certainly not as late as others come first.
    """

    frames: dict[str, pl.LazyFrame]
    end: datetime
    rows: int
    unlabelled: int
    maturity: Maturity | None
    why: str
    delays: tuple[ClassDelay, ...]


def settle(frames: Mapping[str, pl.LazyFrame], schema: Schema, settings: DataSettings) -> LabelTimes | None:
    """Leave out what is not learnt from, and look at the delays of labels; None where no column says when they came.

    Records without a label are left out. With `data.mature_share`, so are those so young that this share of the labels
    of every class had not come by the end of their table.

    Args:
        frames: by the setting that names each; the delays are those of `data.path`.

    Raises:
        SettingsError: the columns that this needs are no moments.
        QualityError: with `data.mature_share`: labels of a class still come at the table's end.
    """
    if settings.label_time is None:
        return None
    goal = schema.with_role(Role.TARGET)[0]
    at, time = _moment(schema, settings.label_time, "label_time"), _moment(schema, _time(schema, settings), "time")
    rows = read(frames["data.path"], time, at, goal)
    end = _end(rows)
    found, why = None, ""
    try:
        share = settings.mature_share or SHARE
        remedy = "train later, when more labels have come; or set a lower data.mature_share, or null to learn from all "
        remedy += "that have a label: some bias is the price"
        found = maturity.measure(rows, LABEL, end + timedelta(microseconds=1), share, remedy=remedy)
    except QualityError as error:
        if settings.mature_share is not None:
            raise
        why = error.observed
    until = None if found is None or settings.mature_share is None else found.age
    late = LabelTimes(
        frames={name: _chosen(frame, time, at, goal, until) for name, frame in frames.items()},
        end=end,
        rows=rows.height,
        unlabelled=rows[LABEL].null_count(),
        maturity=found,
        why=why,
        delays=_class_delays(rows, end - (found.age if found else timedelta())),
    )
    for line in _log_lines(late, settings):
        LOG.info("%s", line)
    return late


def check(late: LabelTimes, settings: DataSettings) -> Iterator[Finding]:
    """Whether the moment of a label depends on what it says."""
    shown = late.delays[:SHOWN]
    differing = any(abs(one.later - 0.5) > EFFECT for one in late.delays)
    medians = [
        f"{one.label!r} {'' if place else 'had come '}after {days(one.median)}" for place, one in enumerate(shown)
    ]
    half = f"half of {', of '.join(medians)}"
    severity, message = Severity.WARNING, f"when a label comes depends on what it says; {half}"
    if not differing:
        severity, remedy = Severity.INFO, "nothing has to be done"
        message = f"labels come alike, whatever they say; {half}"
        message = message if medians else "too few labels to compare their delays"
    elif late.maturity is None:
        message += f". {late.why[:1].upper()}{late.why[1:]}"
        remedy = "wait until more labels have come: of these records nobody can say yet how the classes are divided"
    elif settings.mature_share is not None:
        severity, age = Severity.INFO, days(late.maturity.age)
        message += f", so {late.maturity.young.records:,} records younger than {age} are left out"
        remedy = "leave data.mature_share as it is: with null, records whose label came early would stand for all"
    else:
        message += f". {_young(late.maturity, late.end)}"
        remedy = f"set data.mature_share={SHARE:g}: then only records are learnt from that are so old that nearly all "
        remedy += "labels of every class have come"
    young = late.maturity.young.records if late.maturity else late.rows
    found = noticed("label_delay", severity, settings.label_time, young, young / max(late.rows, 1))
    yield found(message=message, remedy=remedy)


def _log_lines(late: LabelTimes, settings: DataSettings) -> Iterator[str]:
    if late.unlabelled:
        yield f"Left out: {late.unlabelled:,} of {late.rows:,} records, which have no label"
    if settings.mature_share is not None and late.maturity is not None:
        yield " ".join(late.maturity.sentences())


def _young(found: Maturity, end: datetime) -> str:
    young = found.young
    text = f"Of {young.records:,} records younger than {days(found.age)} at the table's end ({end:%Y-%m-%d}), "
    text += f"{young.labelled:,} have a label"
    if not young.classes:
        return text
    name, here, there = young.classes[0]
    return f"{text}, and {here:.0%} of these labels are {name!r}, where {there:.0%} of older ones are"


def _time(schema: Schema, settings: DataSettings) -> str:
    time = schema.only(Role.TIME)
    if time is None:
        raise SettingsError(
            "data.label_time needs the moment of each record, in the column that data.time names",
            observed=f"data.label_time = {settings.label_time!r}, and data.time = null",
            remedy="set data.time, or data.label_time=null",
        )
    return time.name


def _moment(schema: Schema, name: str, key: str) -> Column:
    column = schema[name]
    if column.kind is not Kind.TIMESTAMP:
        raise SettingsError(
            f"With data.label_time, data.{key} names a column of timestamps",
            observed=f"{name!r} is {column.kind}",
            remedy=f"name another column, or say how it is written: data.formats.{name}=%d.%m.%Y",
        )
    return column


def read(frame: pl.LazyFrame, time: Column, at: Column, goal: Column) -> pl.DataFrame:
    """Of each record its `moment`, the moment at which its label came (`known`, never before it), and `label` as text;
    both are null where there is no label. Records without a moment are left out."""
    stored = frame.collect_schema()
    columns = {_MOMENT: time, _CAME: at, LABEL: goal}
    found = {name: values.read(column, stored[column.name]) for name, column in columns.items()}
    rows = collect(frame.select(**found)).drop_nulls(_MOMENT)
    there = pl.all_horizontal(pl.col(LABEL, _CAME).is_not_null())
    came = pl.when(there).then(pl.max_horizontal(_CAME, _MOMENT)).alias(_CAME)
    label = pl.col(LABEL).cast(pl.String)
    if goal.kind is Kind.NUMERIC and rows[LABEL].n_unique() > CLASSES:
        label = part_of(LABEL, parts(rows[LABEL].drop_nulls()))
    elif goal.kind is Kind.NUMERIC:
        label = values.category(LABEL, rows.schema[LABEL])
    return rows.with_columns(came, label.alias(LABEL))


def _end(rows: pl.DataFrame) -> datetime:
    """The newest moment: then the table was taken, at the earliest."""
    ends = [end for end in (rows[_MOMENT].max(), rows[_CAME].max()) if isinstance(end, datetime)]
    if not ends:
        raise QualityError(
            "With data.label_time, records must have moments",
            observed="no value of data.time can be read as one",
            remedy="name another column as data.time, or set data.label_time=null",
        )
    return max(ends)


def _chosen(frame: pl.LazyFrame, time: Column, at: Column, goal: Column, age: timedelta | None) -> pl.LazyFrame:
    """Records with a label; of these, with an age, those that were older at the end of this table."""
    stored = frame.collect_schema()
    labelled = frame.filter(values.present(goal, stored[goal.name]).is_not_null())
    if age is None or at.name not in stored:
        return labelled
    until = _end(read(frame, time, at, goal)) - age
    return labelled.filter((values.read(time, stored[time.name]) < until).fill_null(True))


def _class_delays(rows: pl.DataFrame, until: datetime) -> tuple[ClassDelay, ...]:
    """By class, of the records of before; of all, where these have too few labels."""
    came = rows.drop_nulls([_CAME, LABEL]).with_columns(delay=pl.col(_CAME) - pl.col(_MOMENT))
    old = came.filter(pl.col(_MOMENT) <= until)
    came = old if old.height >= FEW else came
    ranked = came.with_columns(rank=pl.col("delay").rank("average"))
    by_class = ranked.group_by(LABEL).agg(pl.len(), pl.col("rank").mean(), pl.col("delay").median())
    by_class = by_class.filter(pl.col("len").is_between(FEW, came.height - FEW)).sort(LABEL)
    found = []
    for label, records, rank, median in by_class.iter_rows():
        others = came.height - records
        later = (rank - (records + 1) / 2) / others
        deviation = sqrt((came.height + 1) / (12 * records * others))
        certain = abs(later - 0.5) > CERTAIN * deviation
        found.append(ClassDelay(label=label, records=records, median=median, later=later if certain else 0.5))
    return tuple(sorted(found, key=lambda one: -abs(one.later - 0.5)))
