"""Labelled records out of a ledger, as one Parquet file that the source `production` reads."""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
from polars.io.plugins import register_io_source

from tidemill.data.cells import values
from tidemill.data.cells.values import DTYPES
from tidemill.data.schema import Column, Role, Schema
from tidemill.errors import LedgerError, SettingsError, listed
from tidemill.ledger import masking
from tidemill.ledger.settings import LedgerSettings, Masking
from tidemill.settings import Kind
from tidemill.steward.retraining.aging import Answers, Horizon, old

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Records:
    """What was exported. varied: the truths are not all the same. before: only records of earlier moments were."""

    rows: int
    varied: bool
    before: datetime


def export_records(
    settings: LedgerSettings, model: str, schema: Schema, horizon: Horizon, file: Path, *, share: float | None = None
) -> Records:
    """Write each answered record of the horizon that is old enough, with its raw values and the truth.

    Columns are those of `schema` that requests had, by its kinds; where `data.time` was not sent, it is when the
    request arrived. The target has the latest label that came true in time: at its `event_at`, or else when it was
    received (by the clock of events: at its record's moment).
    share: records are old enough once this share of the labels of every class have come; None: all of them are.
    Answers of champion and canary count. The file appears whole or not at all; memory does not grow with the ledger.

    Raises:
        SettingsError: the ledger hides a column that the model needs.
        QualityError: labels of a class still come at the highest age there is.
        LedgerError: nothing can be written.
    """
    shown = _shown(schema, settings)
    target = schema.with_role(Role.TARGET)[0]
    answers = Answers(settings, model, schema, horizon)
    columns = [*(found for column in shown for found in _field(column, answers.fields)), _truth(target)]
    enough = old(settings, model, schema, horizon, share)
    if enough.maturity is not None:
        LOG.info("%s", " ".join(enough.maturity.sentences()))

    def part(since: datetime, before: datetime) -> pl.DataFrame:
        read = answers.read(since, before).filter(pl.col("moment") < enough.before)
        joined = read.join(answers.labels(read, since), on="id")
        return joined.select(columns).drop_nulls(target.name).collect(engine="streaming")

    def parts(*asked: object) -> Iterator[pl.DataFrame]:
        return (part(since, before) for since, before in answers.parts())

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
    truth = pl.col(target.name)
    written = pl.scan_parquet(file, glob=False).select(pl.len().alias("rows"), truth.min() != truth.max())
    rows, varied = written.collect(engine="streaming").row(0)
    return Records(rows=rows, varied=bool(varied), before=enough.before)


def _shown(schema: Schema, settings: LedgerSettings) -> list[Column]:
    """The columns whose values are in the ledger as they were; those that are hidden must not be the model's."""
    columns = [column for column in schema.columns if column.role is not Role.TARGET and column.kind in DTYPES]
    hidden = [column for column in columns if masking.masking_of(column, settings) is not Masking.KEEP]
    needed = [column.name for column in hidden if column in schema.inputs]
    if needed:
        raise SettingsError(
            "A model can only be trained again on columns that its ledger keeps as they are",
            observed=f"{listed(needed, quoted=True)} hidden by ledger.columns",
            remedy=f"set ledger.columns.{needed[0]}=keep, or train a model without it (data.ignored)",
        )
    if hidden:
        LOG.info("exported without what the ledger hides: %s", listed(column.name for column in hidden))
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


def newest(file: Path, schema: Schema, most: int) -> list[datetime]:
    """The latest moments of exported records, the newest first."""
    time = schema.with_role(Role.TIME)[0].name
    moments = pl.scan_parquet(file, glob=False).select(pl.col(time).top_k(most))
    return moments.collect(engine="streaming").to_series().drop_nulls().sort(descending=True).to_list()
