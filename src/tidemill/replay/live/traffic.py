"""Traffic: records go to POST /predict in order of time, labels to POST /feedback as soon as they are known."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import polars as pl

from tidemill.moments import from_microseconds
from tidemill.replay.live.connections import Answer, Connections
from tidemill.replay.table.timeline import Timeline
from tidemill.settings import Objective

_HOUR = 3_600_000_000  # microseconds
_DAY = 24 * _HOUR
_LABELS = 1_000  # in one request

Pause = Callable[[datetime], Awaitable[None]]
"""Called once in each simulated day, after its first records, with the moment of the newest one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrafficSettings:
    """How it is sent.

    connections: requests under way at once, all of the same simulated hour. rows: in one request.
    speed: simulated days in a second; None: as quickly as it goes.
    """

    connections: int = 16
    rows: int = 1
    speed: float | None = None


@dataclass(kw_only=True, slots=True)
class Sent:
    """What became of N records.

    ids: of the answers, as the server gave them; None: there was none.
    failures: reason → records. unlabelled: labels that the server did not take, by reason.
    waited: seconds in which simulated time stood still for the steward.
    days: one row a simulated day: day, records, failed, seconds (of sending, without pauses).
    """

    ids: list[str | None]
    failures: Counter[str] = field(default_factory=Counter)
    unlabelled: Counter[str] = field(default_factory=Counter)
    labels: int = 0
    waited: float = 0.0
    days: list[dict[str, Any]] = field(default_factory=list)

    @property
    def asked(self) -> int:
        """Records that were sent so far."""
        return sum(day["records"] for day in self.days)

    @property
    def served(self) -> int:
        return sum(identity is not None for identity in self.ids)

    def frame(self, moments: pl.Series) -> pl.DataFrame:
        """number, moment, id: which answer belongs to which record."""
        ids = pl.Series(self.ids, dtype=pl.String)
        return pl.DataFrame({"number": np.arange(len(self.ids)), "moment": moments, "id": ids})


class _Prediction(msgspec.Struct):
    id: str


class _Predictions(msgspec.Struct):
    predictions: list[_Prediction]


class _Error(msgspec.Struct):
    error: dict[str, str]


class _Received(msgspec.Struct):
    received: int


_PREDICTIONS = msgspec.json.Decoder(_Predictions)
_ERROR = msgspec.json.Decoder(_Error)
_RECEIVED = msgspec.json.Decoder(_Received)
_ENCODE = msgspec.json.Encoder().encode


async def send(
    timeline: Timeline,
    rows: pl.DataFrame,
    server: Connections,
    manner: TrafficSettings,
    pause: Pause | None,
    sent: Sent,
) -> None:
    """Send all records and all labels, simulated hour after simulated hour.

    Args:
        rows: of the timeline, as they are to be sent.
        sent: what became of them, filled in on the way.
    """
    await _Sending(timeline, rows, server, manner, sent).run(pause)


class _Sending:
    def __init__(
        self, timeline: Timeline, rows: pl.DataFrame, server: Connections, manner: TrafficSettings, sent: Sent
    ) -> None:
        self._rows, self._server, self._manner, self._sent = rows, server, manner, sent
        self._moments = timeline.moments.to_physical().to_numpy()
        known = timeline.known.to_physical()
        self._order = known.arg_sort(nulls_last=True).to_numpy()[: known.len() - known.null_count()]
        self._known = known.gather(self._order).to_numpy()
        classes = timeline.target.classes
        coded = timeline.labels.tolist()
        regression = timeline.target.objective is Objective.REGRESSION
        self._labels: Sequence[str | float] = coded if regression else [classes[code] for code in coded]
        self._labelled = 0  # of `_order`, those whose turn has come

    async def run(self, pause: Pause | None) -> None:
        first, last = int(self._moments[0]) // _HOUR, int(self._moments[-1]) // _HOUR
        if len(self._known):
            last = max(last, int(self._known[-1]) // _HOUR)
        begun, paused, day = time.monotonic(), 0.0, -1
        for hour in range(first, last + 2):  # one more, for the labels of the last
            if self._manner.speed is not None:
                due = begun + paused + (hour - first) / 24 / self._manner.speed
                await asyncio.sleep(due - time.monotonic())
            before = time.monotonic()
            await self._give_labels(hour * _HOUR)
            begin, end = np.searchsorted(self._moments, (hour * _HOUR, (hour + 1) * _HOUR))
            failed = await self._ask(int(begin), int(end))
            self._count(hour * _HOUR, int(end - begin), failed, time.monotonic() - before)
            if begin < end and hour // 24 != day and pause is not None:
                before = time.monotonic()
                await pause(from_microseconds(int(self._moments[end - 1])))
                paused += time.monotonic() - before
            day = hour // 24 if begin < end else day

    async def _ask(self, begin: int, end: int) -> int:
        """Send these records; returns how many had no answer."""
        if begin == end:
            return 0
        step = self._manner.rows
        records = self._rows[begin:end].to_dicts()
        bodies = [_ENCODE({"rows": records[at : at + step]}) for at in range(0, len(records), step)]
        failed = 0
        for at, answer in zip(range(begin, end, step), await self._server.post("/predict", bodies), strict=True):
            count = min(step, end - at)
            ids = _ids(answer, count)
            if isinstance(ids, str):
                self._sent.failures[ids] += count
                failed += count
            else:
                self._sent.ids[at : at + count] = ids
        return failed

    async def _give_labels(self, now: int) -> None:
        """Send the labels that are known before `now` of records that were answered."""
        until = int(np.searchsorted(self._known, now))
        turn = range(self._labelled, until)
        self._labelled = until
        entries = [
            {
                "id": identity,
                "label": self._labels[record],
                "at": from_microseconds(int(self._known[place])),
            }
            for place in turn
            if (identity := self._sent.ids[record := int(self._order[place])]) is not None
        ]
        bodies = [_ENCODE({"labels": entries[at : at + _LABELS]}) for at in range(0, len(entries), _LABELS)]
        for at, answer in enumerate(await self._server.post("/feedback", bodies) if bodies else ()):
            count = len(entries[at * _LABELS : (at + 1) * _LABELS])
            if (refused := _refused(answer, count)) is None:
                self._sent.labels += count
            else:
                self._sent.unlabelled[refused] += count

    def _count(self, moment: int, records: int, failed: int, seconds: float) -> None:
        days = self._sent.days
        day = from_microseconds(moment // _DAY * _DAY).date()
        if not days or days[-1]["day"] != day:
            days.append({"day": day, "records": 0, "failed": 0, "seconds": 0.0})
        for name, value in (("records", records), ("failed", failed), ("seconds", seconds)):
            days[-1][name] += value


def _ids(answer: Answer, count: int) -> list[str] | str:
    """The ids of the predictions, or why the answer is none to a request of `count` rows."""
    if answer.status != 200:
        return _why(answer)
    try:
        ids = [prediction.id for prediction in _PREDICTIONS.decode(answer.body).predictions]
    except msgspec.MsgspecError as error:
        return f"200, but not predictions: {error}"
    return ids if len(ids) == count else f"200, but {len(ids)} predictions for {count} rows"


def _refused(answer: Answer, count: int) -> str | None:
    if answer.status != 200:
        return _why(answer)
    try:
        received = _RECEIVED.decode(answer.body).received
    except msgspec.MsgspecError as error:
        return f"200, but not a receipt: {error}"
    return None if received == count else f"200, but {received} of {count} labels received"


def _why(answer: Answer) -> str:
    text = answer.body.decode(errors="replace")[:300]
    if answer.status == 0:
        return f"no answer: {text}"
    try:
        return f"{answer.status}: {_ERROR.decode(answer.body).error['rule']}"
    except (msgspec.MsgspecError, KeyError):
        return f"{answer.status}: {text}"
