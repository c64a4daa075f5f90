"""A served model's records by the policy's clock: what was answered in a period, with labels, piece by piece."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
import polars as pl

from tidemill.data.cells.parsing import TIMESTAMP
from tidemill.ledger import tables
from tidemill.ledger.record import Role
from tidemill.ledger.settings import LedgerSettings
from tidemill.settings import Kind
from tidemill.steward.policy import Clock

PIECE = 500_000
"""Rows that are in hand at once."""
FEW, GAP = 3, timedelta(days=10)
"""Fewer records, so far in time from all others, do not move the clock of events."""
_ENGINE: Literal["streaming"] = "streaming"
_FINE = "1m"
"""Pieces begin and end with a minute: one minute's rows are in hand together, however many they are."""
MOMENT = pl.col("moment")
_AHEAD = timedelta(days=31)
"""Requests come at most so long before the moment that they are about."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Records of which moments are meant, [begin, end). since: no request for them arrived before (arrival clock)."""

    begin: datetime
    end: datetime
    since: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class DuePeriods:
    """Periods that are over and not weighed yet. filled: the beginnings of those with answers; None: not counted.

    Nothing is read of the empty ones; of several in a row the book has the last, and those with which an alarm begins
    or ends. Watches and trials are closed period by period all the same.
    """

    period: timedelta
    filled: frozenset[datetime] | None = None

    def is_empty(self, begin: datetime) -> bool:
        return self.filled is not None and begin not in self.filled

    def stays_empty(self, begin: datetime) -> bool:
        return self.is_empty(begin) and self.is_empty(begin + self.period)


class Records:
    """The records of one model.

    Args:
        time: the schema's time column, whose value is a record's moment under the clock of events; a record without one
            belongs to its arrival.
    """

    def __init__(self, ledger: LedgerSettings, model: str, clock: Clock, time: str | None) -> None:
        self._ledger, self._model = ledger, model
        self._time = time if clock is Clock.EVENT else None

    def horizon(self, since: datetime, now: datetime) -> datetime | None:
        """The present: `now` by the clock of arrival; by that of events, what clients with half of all answers have
        come to. None before any.

        How far a client has come its own answers tell, and labels that hold for them. Moments that few of them have,
        far from all others (a wrong clock, a far time in a request that tries the server), are not believed, or a
        single one would make years pass; nor is one that is still to come.
        """
        if self._time is None:
            return now
        answered = self._answered(since, said=True)
        labels = tables.labels(self._ledger, self._model, since)
        mine = tables.matched(labels, answered).filter(~pl.col("foreign")).drop("client")
        true_at = pl.col("event_at").alias("moment")
        came_true = mine.join(answered.select("id", "client"), on="id").select("client", true_at)
        counts = answered.group_by("client").agg(pl.len().alias("answers")).collect(engine=_ENGINE)
        believed = [_believed(moments, now) for moments in (answered.select("client", MOMENT), came_true)]
        ends = pl.concat(believed).group_by("client").agg(pl.col("last").max())
        return _reached(ends.join(counts, on="client", nulls_equal=True))

    def first(self, since: datetime, until: datetime) -> datetime | None:
        """The earliest moment up to `until`, that can be believed, of the answers asked for at `since` or later."""
        if self._time is None:
            rows = self._answered(since).filter(MOMENT.le(until))
            return rows.select(MOMENT.min()).collect().item()  # type: ignore[no-any-return]
        said = self._answered(since, said=True).select(pl.lit(None, pl.String).alias("client"), MOMENT)
        return _believed(said, until)["first"].min()  # type: ignore[return-value]

    def arrival(self, since: datetime, after: datetime) -> datetime | None:
        """When the first request came that is for a moment at `after` or later; None where there is none yet.

        Moments more than `_AHEAD` later are left out: else a single one of 2099 has all of the ledger read till then.
        """
        if self._time is None:
            return after
        ahead = self._answered(since).filter(MOMENT.is_between(after, after + _AHEAD))
        return ahead.select(pl.col("at").min()).collect(engine=_ENGINE).item()  # type: ignore[no-any-return]

    def due(self, span: Span, period: timedelta) -> DuePeriods:
        """The periods of a span, their answers counted in one scan."""
        number = (MOMENT - span.begin).dt.total_microseconds() // (period // timedelta(microseconds=1))
        found = self._within(span).select(number.unique()).collect(engine=_ENGINE).to_series()
        return DuePeriods(period=period, filled=frozenset(span.begin + int(each) * period for each in found))

    def pieces(self, span: Span) -> Iterator[pl.DataFrame]:
        """Answers of champion and canary, by moment; each piece is of whole minutes."""
        for part in self._parts(span):
            yield self._within(part).sort("moment", "id").collect(engine=_ENGINE)

    def labelled(self, span: Span, until: datetime) -> Iterator[pl.DataFrame]:
        """The same with the label that was received last: `true_label` or `true_value`, null where none came.

        until: labels count that were known before, by the policy's clock (and those that do not say when), so that
            weighing again gives the same.
        """
        in_time = pl.col("at") < until if self._time is None else (pl.col("event_at") < until).fill_null(True)
        came = tables.labels(self._ledger, self._model, span.since - tables.SKEW).filter(in_time)
        for piece in self.pieces(span):
            mine = tables.matched(came, piece.lazy())
            joined = piece.lazy().join(tables.latest(mine), on="id", how="left", maintain_order="left")
            yield joined.collect(engine=_ENGINE)

    def shadows(self, rows: pl.DataFrame, version: str) -> pl.DataFrame:
        """What a version answered in shadow to records of `rows`: their `id` and its answers, in the same order."""
        asked = rows.select("id", pl.selectors.starts_with("true_"))
        if rows.is_empty():
            return asked.clear()
        given = tables.answers(self._ledger, self._model, rows["at"].min())  # type: ignore[arg-type]
        same_request = pl.col("at") <= rows["at"].max()
        mine = given.filter(pl.col("version") == version, pl.col("role") == Role.SHADOW.value, same_request).select(
            "id", "version", "label", "probabilities", "classes", "value", "lower", "upper", "latency_us"
        )
        joined = asked.lazy().join(mine, on="id", how="inner", maintain_order="left")
        return joined.unique("id", keep="first", maintain_order=True).collect(engine=_ENGINE)

    def _answered(self, since: datetime, *, said: bool = False) -> pl.LazyFrame:
        """said: only records that have a moment themselves; those that belong to their arrival do not move time."""
        rows = tables.answers(self._ledger, self._model, since).filter(pl.col("role") != Role.SHADOW.value)
        stored = rows.collect_schema().get("inputs")
        fields = stored.to_schema() if isinstance(stored, pl.Struct) and self._time is not None else {}
        names = (self._time, f"{self._time} ({Kind.TIMESTAMP})")  # so where its kind has changed (ledger/commits.py)
        own = [pl.col("inputs").struct.field(str(name)) for name in names if fields.get(str(name)) == TIMESTAMP]
        moment = pl.coalesce(*own, *([] if said and own else ["at"])).alias("moment")
        return rows.with_columns(moment, *([pl.lit(None).alias("inputs")] if stored is None else []))

    def _within(self, span: Span) -> pl.LazyFrame:
        return self._answered(span.since).filter(MOMENT.is_between(span.begin, span.end, closed="left"))

    def _parts(self, span: Span) -> Iterator[Span]:
        """The span, cut so that each part has about `PIECE` rows."""
        counts = (
            self._within(span)
            .group_by(MOMENT.dt.truncate(_FINE).alias("minute"))
            .len()
            .sort("minute")
            .collect(engine=_ENGINE)
        )
        begin, rows = span.begin, 0
        for minute, count in counts.iter_rows():
            if rows and rows + count > PIECE:
                yield Span(begin=begin, end=minute, since=span.since)
                begin, rows = minute, 0
            rows += count
        if rows:
            yield Span(begin=begin, end=span.end, since=span.since)


def _believed(moments: pl.LazyFrame, until: datetime) -> pl.DataFrame:
    """`client`, `first` and `last` of each group of a client's moments that has at least `FEW`, or lies near another.

    Moments with a gap of `GAP` on both sides are a group of their own.
    """
    days = moments.filter(MOMENT.le(until)).group_by("client", MOMENT.dt.truncate("1d").alias("day"))
    found = (
        days.agg(MOMENT.min().alias("first"), MOMENT.max().alias("last"), pl.len())
        .sort("client", "day")
        .collect(engine=_ENGINE)
    )
    apart = (pl.col("first") - pl.col("last").shift().over("client") > GAP).fill_null(True).cum_sum()
    groups = found.group_by("client", apart.alias("group")).agg(
        pl.col("first").min(), pl.col("last").max(), pl.col("len").sum()
    )
    return groups.filter(pl.col("len") >= FEW)


def _reached(ends: pl.DataFrame) -> datetime | None:
    """The latest moment that clients with at least half of the `answers` have come to, by the `last` of each."""
    latest_first = ends.sort("last", descending=True)
    half = latest_first.filter(pl.col("answers").cum_sum() * 2 >= pl.col("answers").sum())
    return half["last"].max()  # type: ignore[return-value]


def first_of_requests(rows: pl.DataFrame, last: str | None) -> np.ndarray:
    """Which rows are the first of their request [rows]. last: the request of the row before."""
    requests = rows["request"]
    return np.asarray(requests.ne_missing(requests.shift(1, fill_value=last)).to_numpy())
