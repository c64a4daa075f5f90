"""When each label became known: at the time in a column, so long after its record, or when the source says."""

from dataclasses import dataclass
from datetime import timedelta

import polars as pl

from tidemill.composition import component
from tidemill.data.cells import values
from tidemill.data.checks.label_times import SHARE
from tidemill.data.inference import kinds
from tidemill.data.schema import Column, Role, Schema
from tidemill.errors import ReplayError
from tidemill.settings import DataSettings, Kind

KNOWN = "known\0"
"""The column that says it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelTimes:
    """Without column and delay `data.label_time` says it, or else the source (`labelled_at` in data/sources/).

    share: of the labels of every class: a record is learnt from when it is so old that so many have come.
    """

    column: str | None = None
    delay: timedelta | None = None
    share: float = SHARE


def add(frame: pl.LazyFrame, settings: DataSettings, schema: Schema, known: LabelTimes) -> pl.LazyFrame:
    """The table with `KNOWN` in UTC, never before the record's own moment; null: it never became known.

    Args:
        schema: of the table; its time column is a timestamp.

    Raises:
        ReplayError: nobody says it, or the column that shall is none of the table's, no times, or an input.
    """
    time = schema.only(Role.TIME)
    assert time is not None
    moment = values.read(time, frame.collect_schema()[time.name])
    if known.delay is not None:
        return frame.with_columns((moment + known.delay).alias(KNOWN))
    if (name := known.column or settings.label_time) is not None:
        told = _column(frame, schema, name)
    else:
        frame, told = _joined(frame, settings, schema)
    return frame.with_columns(pl.when(told.is_not_null()).then(pl.max_horizontal(told, moment)).alias(KNOWN))


def _column(frame: pl.LazyFrame, schema: Schema, name: str) -> pl.Expr:
    remedy = "name another one, or give a fixed delay with --label-delay"
    found = kinds.moments(frame, name, ReplayError, setting="--label-time", remedy=remedy)
    role = next((column.role for column in schema.columns if column.name == name), Role.IGNORED)
    if role not in (Role.TIME, Role.IGNORED):
        raise ReplayError(
            "The column of --label-time is known no sooner than the label, so the model may not have it",
            observed=f"{name!r} is a column of role {role}",
            remedy=f"add data.ignored=[{name}]",
        )
    return values.read(found, frame.collect_schema()[name])


def _joined(frame: pl.LazyFrame, settings: DataSettings, schema: Schema) -> tuple[pl.LazyFrame, pl.Expr]:
    """The table with what the source says of each key, and how that is read."""
    source = component("tidemill.data.sources", settings.source, having="read", key="data.source")
    key = schema.only(Role.KEY)
    if not hasattr(source, "labelled_at") or key is None:
        nobody = f"the source {settings.source} does not say it" if key else "the records have no key to find it by"
        raise ReplayError(
            "A replay must know when each label became known",
            observed=nobody,
            remedy="name a column with --label-time COLUMN, or give a delay in hours with --label-delay HOURS",
        )
    at = source.labelled_at(settings).rename({"labelled_at": KNOWN})
    told = values.read(Column(name=KNOWN, kind=Kind.TIMESTAMP), at.collect_schema()[KNOWN])
    return frame.join(at, on=key.name, how="left", maintain_order="left"), told
