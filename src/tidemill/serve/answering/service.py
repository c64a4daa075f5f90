"""A replica's work, protocols and servers aside: who answers a request, the batches, the record, the shadow.

A request passes: `predict` chooses versions → a version's batcher → `_finish` puts the whole batch into the ledger in
one write, and only then lets its replies go.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import numpy as np

from tidemill.bundle.answers import joined
from tidemill.bundle.registry.rollout import Mode
from tidemill.errors import LedgerError, RequestError, listed
from tidemill.ledger.ledger import Ledger
from tidemill.ledger.record import Answered, Described, Label, Role
from tidemill.serve.answering import canary
from tidemill.serve.answering.active import Active
from tidemill.serve.answering.assignment import Assignment
from tidemill.serve.answering.batcher import Batcher, Queues
from tidemill.serve.answering.shadow import Shadow
from tidemill.serve.answering.version import Computed, Version
from tidemill.serve.hooks.metrics import Metrics
from tidemill.serve.hooks.observing import Observers
from tidemill.serve.wire.refusals import overloaded, refused
from tidemill.serve.wire.request import Answer, Request

LOG = logging.getLogger("ray.serve")


class Service:
    """All methods are called in one event loop.

    Args:
        active: what to serve; `active` may be replaced at any moment, each request keeps to what it began with.
    """

    def __init__(
        self,
        active: Active,
        ledger: Ledger,
        metrics: Metrics,
        observers: Observers,
        queues: Queues,
    ) -> None:
        self._active = active
        self._ledger = ledger
        self._metrics = metrics
        self._observers = observers
        self._queues = queues
        self._threads = ThreadPoolExecutor(1, "batch")
        self._batchers: dict[Version, Batcher] = {}
        self._shadow = Shadow(queues.shadow, self._record)
        self.active = active

    @property
    def active(self) -> Active:
        return self._active

    @active.setter
    def active(self, active: Active) -> None:
        """Swap. Requests in hand end with the versions they began with."""
        versions = [version for version in (active.champion, active.challenger) if version is not None]
        for version in versions:
            if version not in self._batchers:
                self._ledger.describe(Described.of(version.predictor.manifest))
        self._batchers = {version: self._batchers.get(version) or self._batcher(version) for version in versions}
        self._active = active

    def version(self, number: str | None) -> Version:
        """The version that reads a request: the pinned one, or the champion.

        Raises:
            RequestError: 404, no such version is active; 503, none is to be served.
        """
        active = self._active
        if not active.serving:
            raise overloaded("A model is served while its registry says so", "it was unloaded", 10)
        if number is None:
            return active.champion
        for version in self._batchers:
            if version.number == number:
                return version
        there = listed(version.number for version in self._batchers)
        raise refused(404, "A version that is asked for is in use", f"{number[:40]!r}; in use: {there}", "leave it out")

    def admit(self, requests: int) -> None:
        """Pass a request before it is read.

        Args:
            requests: in hand, this one among them.

        Raises:
            RequestError: 503, there is more in hand than can be answered soon.
        """
        queues, waiting = self._queues, self.waiting
        if requests > queues.requests or waiting >= queues.waiting:
            rule = f"A replica has at most {queues.requests} requests and {queues.waiting} waiting rows in hand"
            raise overloaded(rule, f"{requests} requests and {waiting} rows", 1)

    async def predict(self, request: Request) -> Any:
        """What `request.encode` makes: the reply to a request that `version(request.version)` has read.

        Raises:
            RequestError: 422 rows, 503 overload or a ledger that cannot be written, 504 too late.
        """
        active = self._active
        if active.mode is Mode.CANARY and active.challenger and request.version is None and request.rows.count:
            return await self._canary(request, active, active.challenger)
        version = self.version(request.version)
        role = Role.CANARY if version is active.challenger else Role.CHAMPION
        return await self._submit(version, Assignment(request, request.rows, role))

    async def label(self, labels: Sequence[Label]) -> None:
        """Keep labels.

        Raises:
            RequestError: 503, they cannot be kept now; 422, they come by keys that the ledger masks.
        """
        if not self._ledger.keeps:
            raise refused(404, "Labels are kept where a ledger is set", "there is none", "set ledger.path")
        column = self._active.champion.key
        if column is not None and self._ledger.masks(column) and any(label.key is not None for label in labels):
            name = f"ledger.columns.{column.name}"
            remedy = f'send the "id" of a prediction; or serve with {name}=hash, which hides keys and finds them again'
            raise refused(422, "Labels come by key where the ledger keeps keys", f"{name}=mask", remedy)
        try:
            self._ledger.labelled(list(labels))
        except LedgerError as error:
            raise _unrecorded(error) from error
        for label in labels:
            self._observers.emit(label)

    @property
    def waiting(self) -> int:
        """Rows that wait."""
        return sum(batcher.waiting for batcher in self._batchers.values())

    @property
    def versions(self) -> dict[str, Version]:
        """What is active, by alias."""
        active = self._active
        return {"champion": active.champion} | ({"challenger": active.challenger} if active.challenger else {})

    @property
    def shadow(self) -> Shadow:
        return self._shadow

    async def close(self) -> None:
        await self._shadow.close()
        self._threads.shutdown()

    async def _canary(self, request: Request, active: Active, challenger: Version) -> Any:
        """Each row goes to the version that its key chooses."""
        champion, rows = active.champion, request.rows
        keys = _keys(request, champion)
        chosen, tosses = canary.assign(keys, champion.identity.model, challenger.number, active.share, active.secret)
        if not chosen.any():
            return await self._submit(champion, Assignment(request, rows, Role.CHAMPION, 1 - active.share, tosses))
        raw = champion.raw_of(rows)
        parts = []
        for version, role, share, mask in (
            (champion, Role.CHAMPION, 1 - active.share, ~chosen),
            (challenger, Role.CANARY, active.share, chosen),
        ):
            if mask.any():
                places = tuple(mask.nonzero()[0].tolist())
                mine = version.adapted({name: values[mask] for name, values in raw.items()})
                some = msgspec.structs.replace(rows, count=len(places), records=None, raw=mine)
                tossed = tuple(tosses[place] for place in places)
                parts.append(self._submit(version, Assignment(request, some, role, share, tossed, places)))
        found: list[Answer] = await asyncio.gather(*parts)
        return request.encode(request.arrival.id, found[0] if len(found) == 1 else _joined(found, chosen))

    def _submit(self, version: Version, assignment: Assignment) -> "asyncio.Future[Any]":
        batcher = self._batchers.get(version)
        if batcher is None:  # swapped away while this request was read
            batcher = self._batcher(version)
        if not batcher.offer(assignment):
            version.statistics.failed(int((time.monotonic() - assignment.request.arrival.clock) * 1e9))
            observed = f"{batcher.waiting} rows wait"
            raise overloaded(f"At most {self._queues.waiting} rows wait for answers", observed, batcher.delay)
        return assignment.result

    def _batcher(self, version: Version) -> Batcher:
        def finish(assigned: Sequence[Assignment], computed: Computed | Exception, begun: float) -> None:
            try:
                self._finish(version, assigned, computed, begun)
            except Exception as error:  # a fault of ours: nobody may wait for ever
                LOG.exception("A batch's answers were lost")
                for one in assigned:
                    one.settle(error)

        queues = self._queues
        return Batcher(
            version.compute, finish, self._threads, max_rows=queues.batch, max_queue=queues.waiting, cost=version.cost
        )

    def _finish(
        self, version: Version, assigned: Sequence[Assignment], computed: Computed | Exception, begun: float
    ) -> None:
        """Make replies, keep them all in one write, let them go."""
        now = time.monotonic()
        if isinstance(computed, Exception):
            LOG.error("A batch failed", exc_info=computed)
            for one in assigned:
                one.settle(computed)
            version.executed([(one, computed) for one in assigned], 0, begun, now)
            return
        settled: list[tuple[Assignment, Any]] = []
        entries = []
        for one, place in zip(assigned, computed.places, strict=True):
            if isinstance(place, RequestError):
                settled.append((one, place))
                continue
            answers = {name: values[place] for name, values in computed.answers.items()}
            settled.append((one, one.reply(version.identity, answers)))
            if one.request.recorded:
                entries.append(one.entry(version.number, answers, now))
        try:
            self._record(entries)
        except LedgerError as error:
            settled = [(one, _unrecorded(error)) for one, _ in settled]
        for one, result in settled:
            one.settle(result)
        rows = len(next(iter(computed.answers.values())))
        self._metrics.batch(rows, len(assigned), begun - assigned[0].request.arrival.clock, now - begun)
        version.executed(settled, rows, begun, now)
        active = self._active
        shadowed = (
            active.mode is Mode.SHADOW and version is active.champion and all(one.request.recorded for one in assigned)
        )
        if shadowed and active.challenger is not None and rows:
            self._shadow.offer(active.challenger, entries, computed, self.waiting)

    def _record(self, entries: Sequence[Answered]) -> None:
        if entries:
            self._ledger.answered(entries)
        for entry in entries:
            self._observers.emit(entry)


def _joined(found: Sequence[Answer], chosen: np.ndarray) -> Answer:
    """The answers to all rows in order; both versions give the same ones, as `compatibility.check` has seen."""
    order = np.argsort(np.argsort(chosen, kind="stable"))
    first = found[0]
    answers = {name: values[order] for name, values in joined([one.answers for one in found]).items()}
    by = [(str(one.identity.version), one.role) for one in found]
    return Answer(answers, first.identity, first.role, [by[one] for one in chosen.astype(int).tolist()])


def _keys(request: Request, version: Version) -> Sequence[str]:
    """Keys of the rows; for one that has none, chance decides, by the answer's id."""
    rows = request.rows
    keys = rows.keys
    if keys is None and version.reader.keys and rows.records is not None:
        keys = [version.reader.key_of(record) for record in rows.records]
    if keys is None:
        keys = [None] * rows.count
    return [f"{request.arrival.id}-{row}" if key is None else key for row, key in enumerate(keys)]


def _unrecorded(error: LedgerError) -> RequestError:
    refusal = overloaded(error.rule, error.observed, 5)
    refusal.remedy, refusal.reason = error.remedy, "ledger"
    return refusal
