"""Labelled records out of a ledger, as one Parquet file that the source `production` reads."""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from polars.io.plugins import register_io_source

from tidemill.data import values
from tidemill.data.schema import Column, Role, Schema
from tidemill.data.values import DTYPES
from tidemill.errors import LedgerError, SettingsError, listed
from tidemill.ledger import covers, record, tables
from tidemill.ledger.settings import Cover, LedgerSettings
from tidemill.settings import Kind

ROWS_AT_ONCE = 250_000
"""Answers that labels are looked up for in one pass over the labels; bounds the memory."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Records:
    """What was exported. newest: the latest moment of prediction; varied: the truths are not all the same."""

    rows: int
    newest: datetime | None
    varied: bool


def export_records(
    settings: LedgerSettings, model: str, schema: Schema, until: datetime, file: Path, *, event_clock: bool = False
) -> Records:
    """Write each answered record whose truth was known before `until`, with its raw values and the truth.

    Columns are those of `schema` that requests had, by its kinds; where `data.time` was not sent, it is when the
    request arrived. The target has the latest label that came true before `until`: at its `event_at`, or else when it
    was received. event_clock: `until` is a moment of records, which may lie years before labels are received; then a
    label without `event_at` counts from its record's own moment on, as it does where it is weighed.
    Answers of champion and canary count. The file appears whole or not at all; memory does not grow with the ledger.

    Raises:
        SettingsError: the ledger hides a column that the model needs.
        LedgerError: nothing can be written.
    """
    shown = _shown(schema, settings)
    target = schema.with_role(Role.TARGET)[0]
    everything = tables.answers(settings, model)
    stored = everything.collect_schema().get("inputs")
    fields: dict[str, Any] = dict(stored.to_schema()) if isinstance(stored, pl.Struct) else {}
    columns = [*(found for column in shown for found in _field(column, fields)), _truth(target)]
    time = schema.only(Role.TIME)
    timed = event_clock and time is not None and time.kind is Kind.TIMESTAMP
    moment = [one.alias("moment") for one in _field(time, fields)] if timed and time else []

    def part(since: datetime, before: datetime) -> pl.DataFrame:
        roles = [str(record.Role.CHAMPION), str(record.Role.CANARY)]
        given = tables.answers(settings, model, since, before).filter(pl.col("role").is_in(roles))
        given = given.select("id", "key", "at", "inputs" if fields else pl.lit(None).alias("inputs"))
        # not in the scan: for a struct of many fields Polars 2.1 fails to read Delta's statistics
        read = given.collect(engine="streaming").lazy().filter(pl.col("inputs").is_not_null())
        received = tables.labels(settings, model, since - tables.SKEW)
        labels = tables.matched(received, read).join(read.select("id", *moment), on="id")
        came_true = pl.coalesce("event_at", "moment" if moment else "at")
        labels = tables.latest(labels.filter(came_true < tables.aware(until)))
        return read.join(labels, on="id").select(columns).drop_nulls(target.name).collect(engine="streaming")

    def parts(*asked: object) -> Iterator[pl.DataFrame]:
        return (part(since, before) for since, before in _periods(everything))

    nothing = datetime(1970, 1, 1)
    dtypes = part(nothing, nothing).schema
    unfinished = file.with_name(f".{file.name}-{os.getpid()}")
    try:
        register_io_source(parts, schema=dtypes).sink_parquet(unfinished)
        unfinished.replace(file)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise LedgerError(
            "Labelled records can be written beside a retraining",
            observed=f"{file}: {error.strerror or error}",
            remedy="make room or give permission there",
        ) from error
    return _summary(file, schema, target)


def _periods(answers: pl.LazyFrame) -> Iterator[tuple[datetime, datetime]]:
    """Periods of whole minutes, one after the other, of about `ROWS_AT_ONCE` answers each."""
    minutes = answers.group_by(pl.col("at").dt.truncate("1m")).len().sort("at").collect(engine="streaming")
    part = (minutes["len"].cum_sum() - 1) // ROWS_AT_ONCE
    periods = minutes.group_by(part.alias("part"), maintain_order=True).agg(
        pl.col("at").min().alias("since"), pl.col("at").max().alias("last")
    )
    for since, last in periods.select("since", "last").iter_rows():
        yield since, last + timedelta(minutes=1)


def _shown(schema: Schema, settings: LedgerSettings) -> list[Column]:
    """The columns whose values are in the ledger as they were; those that are hidden must not be the model's."""
    columns = [column for column in schema.columns if column.role is not Role.TARGET and column.kind in DTYPES]
    hidden = [column for column in columns if covers.cover(column, settings) is not Cover.KEEP]
    needed = [column.name for column in hidden if column in schema.inputs]
    if needed:
        raise SettingsError(
            "A model can only be trained again on columns that its ledger keeps as they are",
            observed=f"{listed(needed, quoted=True)} hidden by ledger.columns",
            remedy=f"set ledger.columns.{needed[0]}=keep, or train a model without it (data.ignored)",
        )
    if hidden:
        _log.info("exported without what the ledger hides: %s", listed(column.name for column in hidden))
    return [column for column in columns if column not in hidden]


def _field(column: Column, fields: dict[str, Any]) -> list[pl.Expr]:
    """The recorded values of a column, if any; under a second name where its kind changed (ledger/commits.py)."""
    names = [column.name, f"{column.name} ({column.kind})"]
    found = [
        pl.col("inputs").struct.field(name).alias(column.name)
        for name in names
        if fields.get(name) == DTYPES[column.kind]
    ]
    if column.role is Role.TIME and column.kind is Kind.TIMESTAMP:
        found.append(pl.col("at").alias(column.name))
    return [pl.coalesce(found)] if found else []


def _truth(target: Column) -> pl.Expr:
    """The label as the target's kind: classes come as text, values of a regression as numbers."""
    name = target.name
    text = values.read(Column(name="true_label", kind=target.kind), pl.String())
    return (pl.coalesce("true_value", text) if target.kind is Kind.NUMERIC else text).alias(name)


def _summary(file: Path, schema: Schema, target: Column) -> Records:
    written = pl.scan_parquet(file, glob=False)
    time = schema.only(Role.TIME)
    timed = time is not None and time.kind is Kind.TIMESTAMP
    truth = pl.col(target.name)
    newest = pl.col(time.name).max() if time is not None and timed else pl.lit(None)
    rows, latest, varied = (
        written.select(pl.len().alias("rows"), newest.alias("newest"), (truth.min() != truth.max()).alias("varied"))
        .collect(engine="streaming")
        .row(0)
    )
    return Records(rows=rows, newest=latest, varied=bool(varied))
