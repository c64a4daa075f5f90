"""Which records of a ledger may be learnt from: those so old that the labels of every class have come."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from tidemill.data.cells.values import DTYPES
from tidemill.data.labels import delays, maturity
from tidemill.data.labels.delays import Delays
from tidemill.data.labels.maturity import Maturity
from tidemill.data.schema import Role, Schema
from tidemill.ledger import record, tables
from tidemill.ledger.settings import LedgerSettings
from tidemill.moments import aware
from tidemill.settings import Kind

ROWS_AT_ONCE = 250_000
"""Answers that labels are looked up for in one pass over the labels; bounds the memory."""
_REMEDY = (
    "wait until more labels have come, or accept more bias with a lower retrain.mature_share; null learns from "
    "whatever is known"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Horizon:
    """As things stood at some moment.

    until: records of earlier moments are meant. known_before: with labels that came before, `until` or later.
    event_clock: both are moments of records, which may lie years before labels are received; then a label that does
    not say when it came true counts from its record's own moment on, as it does where it is weighed.
    """

    until: datetime
    known_before: datetime
    event_clock: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Old:
    """before: records of earlier moments are old enough. labelled: how many of these have a label, to a step.
    first: the moment of the earliest."""

    before: datetime
    labelled: int
    first: datetime | None
    maturity: Maturity | None


class Answers:
    """A model's answers up to a horizon, and the labels that had come by then, part by part."""

    def __init__(self, settings: LedgerSettings, model: str, schema: Schema, horizon: Horizon) -> None:
        self._settings, self._model, self._horizon = settings, model, horizon
        stored = tables.answers(settings, model).collect_schema().get("inputs")
        self.fields: dict[str, Any] = dict(stored.to_schema()) if isinstance(stored, pl.Struct) else {}
        time = schema.only(Role.TIME)
        own = time is not None and time.kind is Kind.TIMESTAMP and horizon.event_clock
        names = [time.name, f"{time.name} ({time.kind})"] if own and time is not None else []
        there = [name for name in names if self.fields.get(name) == DTYPES[Kind.TIMESTAMP]]
        self.moment = pl.coalesce(*(pl.col("inputs").struct.field(name) for name in there), "at")

    def parts(self) -> Iterator[tuple[datetime, datetime]]:
        """Periods of whole minutes of arrival, one after the other, of about `ROWS_AT_ONCE` answers each."""
        answers = tables.answers(self._settings, self._model)
        minutes = answers.group_by(pl.col("at").dt.truncate("1m")).len().sort("at").collect(engine="streaming")
        part = (minutes["len"].cum_sum() - 1) // ROWS_AT_ONCE
        periods = minutes.group_by(part.alias("part"), maintain_order=True).agg(
            pl.col("at").min().alias("since"), pl.col("at").max().alias("last")
        )
        for since, last in periods.select("since", "last").iter_rows():
            yield since, last + timedelta(minutes=1)

    def read(self, since: datetime, before: datetime) -> pl.LazyFrame:
        """`id`, `key`, `at`, `inputs` and `moment` of what champion and canary answered to readable inputs."""
        roles = [str(record.Role.CHAMPION), str(record.Role.CANARY)]
        given = tables.answers(self._settings, self._model, since, before).filter(pl.col("role").is_in(roles))
        given = given.select("id", "key", "at", "client", "inputs" if self.fields else pl.lit(None).alias("inputs"))
        # not in the scan: for a struct of many fields Polars 2.1 fails to read Delta's statistics
        read = given.collect(engine="streaming").lazy().filter(pl.col("inputs").is_not_null())
        return read.with_columns(self.moment.alias("moment"))

    def labels(self, read: pl.LazyFrame, since: datetime) -> pl.LazyFrame:
        """The latest label of each that had come by then, in `true_label` or `true_value`, and when: `known`."""
        received = tables.labels(self._settings, self._model, since - tables.SKEW)
        labels = tables.matched(received, read).join(read.select("id", "moment"), on="id")
        came_true = pl.coalesce("event_at", "moment" if self._horizon.event_clock else "at")
        latest = tables.latest(labels.filter(came_true < aware(self._horizon.known_before)))
        known = came_true if self._horizon.event_clock else pl.col("labelled_at")
        joined = latest.join(read.select("id", "moment"), on="id")
        return joined.select("id", "true_label", "true_value", known.alias("known"))


def old(settings: LedgerSettings, model: str, schema: Schema, horizon: Horizon, share: float | None) -> Old:
    """Which records are old enough. share: of the labels of every class; None: every record of the horizon is.

    Raises:
        QualityError: no age is enough.
    """
    answers = Answers(settings, model, schema, horizon)
    now, until = aware(horizon.known_before), aware(horizon.until)
    regression = schema.with_role(Role.TARGET)[0].kind is Kind.NUMERIC
    counted: Delays | None = None
    ends: list[float] | None = None
    first: datetime | None = None
    parts = list(answers.parts())
    for since, before in parts:
        read = answers.read(since, before).filter(pl.col("moment") < now)
        rows = read.join(answers.labels(read, since), on="id", how="left").collect(engine="streaming")
        if not rows.height:
            continue
        earliest: datetime = rows["moment"].min()  # type: ignore[assignment]
        if counted is None:  # later parts hardly have earlier moments; their records then count as one step older
            counted = delays.none(delays.step(now - earliest))
        first = min(first or earliest, earliest)
        if (
            regression
            and ends is None
            and rows["true_value"].count()
            and rows["true_value"].n_unique() > delays.CLASSES
        ):
            ends = delays.parts(rows["true_value"].drop_nulls())
        label = (
            delays.part_of("true_value", ends)
            if ends
            else pl.coalesce("true_label", pl.col("true_value").cast(pl.String))
        )
        counted += delays.count(
            rows.select(age=pl.lit(now) - pl.col("moment"), delay=pl.col("known") - pl.col("moment"), label=label),
            counted.unit,
        )
    if counted is None:
        return Old(before=until, labelled=0, first=None, maturity=None)
    found = maturity.estimate(counted, share, remedy=_REMEDY) if share is not None else None
    before = min(until, now - found.age) if found is not None else until
    youngest = (now - before) // counted.unit
    labelled = counted.ages.filter(pl.col("label").is_not_null(), pl.col("step") >= youngest)["records"].sum()
    return Old(before=before, labelled=int(labelled), first=first, maturity=found)
