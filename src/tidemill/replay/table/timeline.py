"""The timeline: labelled records in order of time, and when each label became known."""

from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import polars as pl

from tidemill.data import sources, typed
from tidemill.data.cells import values
from tidemill.data.schema import Column, Role, Schema
from tidemill.data.target import Target
from tidemill.errors import ReplayError
from tidemill.replay.table import label_times as labels
from tidemill.replay.table.label_times import KNOWN, LabelTimes
from tidemill.settings import DataSettings, Kind

_UNSENT = (Role.TARGET, Role.WEIGHT, Role.IGNORED)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Timeline:
    """N records in order of their moment.

    rows: what is sent of each: the model's inputs, and what else a request may hold (key, group, sensitive columns).
    moments: when each was asked about. known: when its label became known, never before; null: it never did.
    labels: encoded by `target`. unreadable: records in this window that the schema cannot read, and so are left out.
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
    settings: DataSettings,
    schema: Schema,
    target: Target,
    known: LabelTimes,
    *,
    since: datetime,
    until: datetime | None,
) -> Timeline:
    """The records of `since` ≤ moment < `until` (UTC) of the table that `settings` name, read by a model's schema.

    Raises:
        ReplayError: the schema has no time column of timestamps, nobody says when labels become known, or no record
            lies in this window.
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
    added = Column(name=KNOWN, kind=Kind.TIMESTAMP, role=Role.SENSITIVE)
    table = labels.add(sources.open(settings), settings, schema, known)
    read = typed.apply(table, Schema(columns=(*columns, added)))
    chosen = pl.col(time.name) >= since
    if until is not None:
        chosen &= pl.col(time.name) < until
    window = read.table.filter(chosen).sort(time.name, maintain_order=True)
    if not window.height:
        raise ReplayError(
            "There must be records to replay",
            observed=f"none of {read.table.height:,} lies from {since:%Y-%m-%d} to {until or 'the end'}",
            remedy="choose other dates for --from and --until",
        )
    return Timeline(
        rows=window.select(column.name for column in columns if column.role not in _UNSENT),
        moments=window[time.name].alias("moment"),
        known=window[KNOWN].alias("known"),
        labels=target.encode(window[target.name]),
        target=target,
        unreadable=_unreadable(read.quarantined, time, since, until),
    )


def _unreadable(quarantined: pl.DataFrame, time: Column, since: datetime, until: datetime | None) -> int:
    """How many of these rows do not lie outside the window, as far as their time can be read."""
    moment = values.read(time, quarantined.schema[time.name])
    outside = moment < since
    if until is not None:
        outside |= moment >= until
    return int(quarantined.select((~outside.fill_null(False)).sum()).item())
