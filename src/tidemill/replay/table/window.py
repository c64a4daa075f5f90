"""The time window: where training ends and traffic begins, and what was known there."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from tidemill.composition import component
from tidemill.data import infer, made_moments, proposals, sources, target, typed
from tidemill.data.cells import values
from tidemill.data.checks import joint, record_time
from tidemill.data.labels import maturity
from tidemill.data.labels.maturity import Maturity
from tidemill.data.reading import collect
from tidemill.data.schema import Column, Role, Schema
from tidemill.errors import ReplayError, listed
from tidemill.replay.table import label_times as labels
from tidemill.replay.table.label_times import KNOWN, LabelTimes
from tidemill.settings import DataSettings, Kind

_MOMENT = "moment\0"
_KNOWN_AT = "label_known_at"
_INPUTS = (Role.FEATURE, Role.TIME)


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeWindow:
    """What is replayed: records of `since` ≤ moment < `until`; None: to the end. All moments are in UTC.

    last: the moment of the table's last record. per_day: records before `since`. maturity: from which age on records
    are learnt from and weighed, as far as could be known at `since`.
    """

    since: datetime
    until: datetime | None
    last: datetime
    per_day: float
    maturity: Maturity

    @property
    def lag(self) -> timedelta:
        return self.maturity.age

    @property
    def mature_until(self) -> datetime:
        """Records of earlier moments are old enough at `since`."""
        return self.since - self.lag

    @property
    def end(self) -> datetime:
        return min(self.until or self.last, self.last)

    @property
    def days(self) -> float:
        return (self.end - self.since) / timedelta(days=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Before:
    """The table's rows before the window, as the source gave them, and the column added to them that says when each
    label became known, which may lie in the window."""

    table: pl.DataFrame
    label_time: str


def cut(
    settings: DataSettings, known: LabelTimes, since: datetime | None, until: datetime | None
) -> tuple[TimeWindow, Before]:
    """The time window, and what was before it.

    Args:
        since: None: where the source says (`REPLAYED_FROM`), else the midnight before the last two thirds of records.

    Raises:
        ReplayError: there are no moments or no target, the dates do not lie within the table, or no record was old
            enough to be learnt from.
        SchemaError, SourceError: as for `data.sources` and `data.infer`.
    """
    frame = sources.open(settings)
    schema = infer.infer(frame, settings)
    time, goal = _time(frame, schema, settings, known), schema.with_role(Role.TARGET)[0]
    read = values.read(time, frame.collect_schema()[time.name]).alias(_MOMENT)
    table = labels.add(frame, settings, schema, known).with_columns(read)
    moments = collect(table.select(_MOMENT)).to_series().drop_nulls().sort()
    if moments.is_empty():
        raise ReplayError(
            "A replay needs records with moments",
            observed=f"no value of {time.name!r} can be read as a timestamp",
            remedy="name another column with data.time=…, or pin a schema with the column's format",
        )
    since = since or _default(settings, moments)
    first, last = moments[0], moments[-1]
    _check_dates(first, last, since, until)
    early = collect(table.filter(pl.col(_MOMENT) < since))
    if early.filter(pl.col(KNOWN) < since).is_empty():
        raise _unknown(early.height, since)
    window = TimeWindow(
        since=since,
        until=until,
        last=last,
        per_day=early.height / max((since - first) / timedelta(days=1), 1.0),
        maturity=_maturity(early, goal.name, known, since),
    )
    if early.filter(pl.col(KNOWN) < since, pl.col(_MOMENT) < window.mature_until).is_empty():
        raise _unknown(early.height, since)
    name = _KNOWN_AT
    while name in early.columns:
        name += "_"
    return window, Before(table=early.drop(_MOMENT).rename({KNOWN: name}), label_time=name)


def _unknown(early: int, since: datetime) -> ReplayError:
    return ReplayError(
        "A first model is trained on records whose labels were known before --from, and that were old enough then",
        observed=f"none of {early:,} records before {since:%Y-%m-%d %H:%M}",
        remedy="choose a later --from, or correct --label-time or --label-delay",
    )


def _maturity(early: pl.DataFrame, goal: str, known: LabelTimes, since: datetime) -> Maturity:
    """As far as could be known at `since`. With a fixed delay there is nothing to estimate."""
    if known.delay is not None:
        return Maturity(age=known.delay, share=1.0)
    rows = early.select(pl.col(_MOMENT).alias("moment"), pl.col(KNOWN).alias("known"), goal)
    remedy = "choose a later --from, or accept more bias with a lower --mature-share"
    return maturity.measure(rows, goal, since, known.share, remedy=remedy)


def _time(frame: pl.LazyFrame, schema: Schema, settings: DataSettings, known: LabelTimes) -> Column:
    if schema.only(Role.TARGET) is None:
        raise ReplayError(
            "A replay needs labels, in the column that data.target names",
            observed=f"data.target={settings.target}",
            remedy=f"set data.target to one of {listed(column.name for column in schema.columns)}",
        )
    time = schema.only(Role.TIME)
    if time is None or time.kind is not Kind.TIMESTAMP:
        raise ReplayError(
            "A replay goes by the moment of each record, a column of timestamps that data.time names",
            observed=f"data.time={settings.time}" + (f", and {time.name!r} is {time.kind}" if time else ""),
            remedy=_proposed(frame, schema, settings, known),
        )
    return time


def _proposed(frame: pl.LazyFrame, schema: Schema, settings: DataSettings, known: LabelTimes) -> str:
    """What to set data.time to. A moment that lies after the prediction is never proposed."""
    table = typed.apply(frame, schema).table
    labels = target.fit(table[schema.with_role(Role.TARGET)[0].name], settings)
    found = [name for name in joint.moments(table, schema, settings, labels) if name != known.column]
    stamps = [column.name for column in schema.columns if column.kind is Kind.TIMESTAMP and column.role in _INPUTS]
    late = listed((name for name in stamps if name not in found), quoted=True)
    said = f"; not {late}, known only after the prediction" if late else ""
    if found:
        return f"if a record is made at {found[0]!r}, set data.time={found[0]}{said}"
    parts = proposals.moment([column.name for column in schema.columns], made_moments.declared(settings))
    parts = f"{record_time.IN_PARTS}: without it nothing has an order" if parts is None else parts
    return f"name the column that says when a record is made{said}; {parts}"


def _default(settings: DataSettings, moments: pl.Series) -> datetime:
    source = component("tidemill.data.sources", settings.source, having="read", key="data.source")
    if hasattr(source, "REPLAYED_FROM"):
        since: datetime = source.REPLAYED_FROM
        return since
    third: datetime = moments[moments.len() // 3]
    midnight = third.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight if midnight > moments[0] else third


def _check_dates(first: datetime, last: datetime, since: datetime, until: datetime | None) -> None:
    there = f"the table's records go from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}"
    if not first < since <= last:
        raise ReplayError(
            "--from lies within the table: what is before it is trained on, what comes after it is replayed",
            observed=f"{since:%Y-%m-%d %H:%M}, and {there}",
            remedy="choose a date between, or leave --from out: then the first third is trained on",
        )
    if until is not None and until <= since:
        raise ReplayError(
            "--until lies after --from",
            observed=f"{until:%Y-%m-%d %H:%M}, and traffic begins at {since:%Y-%m-%d %H:%M}",
            remedy=f"choose a later one ({there})",
        )
