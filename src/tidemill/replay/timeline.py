"""The timeline: labelled records in order of time, and when each label became known."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from tidemill.composition import component
from tidemill.data import sources, typed, values
from tidemill.data.schema import Column, Role, Schema
from tidemill.data.target import Target
from tidemill.data.values import TIMESTAMP
from tidemill.errors import ReplayError
from tidemill.settings import DataSettings, Kind

_KNOWN = "known\0"
_UNSENT = (Role.TARGET, Role.WEIGHT, Role.IGNORED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """When labels become known: at the time in a column, or so long after the record's own moment.

    Without either the source must say it (`labelled_at` in data/sources/).
    """

    column: str | None = None
    delay: timedelta | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Timeline:
    """N records in order of their moment.

    rows: what is sent of each: the model's inputs, and what else a request may hold (key, group, sensitive columns).
    moments: when each was asked about. known: when its label became known, never before; null: it never did.
    labels: encoded by `target`. unreadable: records in this stretch that the schema cannot read, and so are left out.
    """

    rows: pl.DataFrame
    moments: pl.Series
    known: pl.Series
    labels: np.ndarray
    target: Target
    unreadable: int

    def __len__(self) -> int:
        return self.rows.height

    def shuffled(self, seed: int) -> "Timeline":
        """The same with the labels permuted over the records, so that nothing can be learnt from them."""
        return replace(self, labels=np.random.default_rng(seed).permutation(self.labels))


def read(
    settings: DataSettings, schema: Schema, target: Target, known: Known, *, since: datetime, until: datetime | None
) -> Timeline:
    """The records of `since` ≤ moment < `until` (UTC) of the table that `settings` name, read by a model's schema.

    Raises:
        ReplayError: the schema has no time column of timestamps, nobody says when labels become known, or no record
            lies in this stretch.
        SchemaError, SourceError: as for `data.sources` and `data.typed`.
    """
    time = schema.only(Role.TIME)
    if time is None or time.kind is not Kind.TIMESTAMP:
        raise ReplayError(
            "A replay goes by the schema's time column",
            observed="no time column" if time is None else f"{time.name!r} is {time.kind}",
            remedy="name a column of timestamps with data.time=…",
        )
    columns = tuple(column for column in schema.columns if column.role is not Role.IGNORED)
    added = Column(name=_KNOWN, kind=Kind.TIMESTAMP, role=Role.SENSITIVE)
    read = typed.apply(_with_known(settings, schema, known), Schema(columns=(*columns, added)))
    chosen = pl.col(time.name) >= since
    if until is not None:
        chosen &= pl.col(time.name) < until
    table = read.table.filter(chosen).sort(time.name, maintain_order=True)
    if not table.height:
        raise ReplayError(
            "There must be records to replay",
            observed=f"none of {read.table.height:,} lies from {since:%Y-%m-%d} to {until or 'the end'}",
            remedy="choose other dates for --from and --until",
        )
    moments = table[time.name].alias("moment")
    at = table[_KNOWN] if known.delay is None else moments + known.delay
    return Timeline(
        rows=table.select(column.name for column in columns if column.role not in _UNSENT),
        moments=moments,
        known=pl.select(pl.when(at.is_not_null()).then(pl.max_horizontal(at, moments))).to_series().alias("known"),
        labels=target.encode(table[target.name]),
        target=target,
        unreadable=_unreadable(read.quarantined, time, since, until),
    )


def _with_known(settings: DataSettings, schema: Schema, known: Known) -> pl.LazyFrame:
    """The table with one more column: when each label became known."""
    frame = sources.open(settings)
    if known.delay is not None:
        return frame.with_columns(pl.lit(None, TIMESTAMP).alias(_KNOWN))
    if known.column is not None:
        names = frame.collect_schema()
        if known.column not in names:
            raise ReplayError(
                "--label-time names a column of the table",
                observed=f"{known.column!r}; the table has {', '.join(names)}",
                remedy="correct it, or give a fixed delay with --label-delay",
            )
        value = pl.col(known.column)
        value = value.str.to_datetime() if names[known.column] == pl.String else value
        return frame.with_columns(value.alias(_KNOWN))
    source = component("tidemill.data.sources", settings.source, having="read", key="data.source")
    key = schema.only(Role.KEY)
    if not hasattr(source, "labelled_at") or key is None:
        nobody = f"the source {settings.source} does not say it" if key else "the records have no key to find it by"
        raise ReplayError(
            "A replay must know when each label became known",
            observed=nobody,
            remedy="name a column with --label-time, or give a delay in hours with --label-delay",
        )
    at = source.labelled_at(settings).rename({"labelled_at": _KNOWN})
    return frame.join(at, on=key.name, how="left", maintain_order="left")


def _unreadable(quarantined: pl.DataFrame, time: Column, since: datetime, until: datetime | None) -> int:
    """How many of these rows do not lie outside the stretch, as far as their time can be read."""
    moment = values.read(time, quarantined.schema[time.name])
    outside = moment < since
    if until is not None:
        outside |= moment >= until
    return int(quarantined.select((~outside.fill_null(False)).sum()).item())
