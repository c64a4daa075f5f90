"""The shadow: a challenger answers what the champion has answered, for the ledger alone, when there is time.

It works in one thread behind the champion's batches; under load it is the first to go without: rows that would have to
wait behind too many others, or while requests wait, are shed and counted.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from tidemill.bundle.answers import Answers
from tidemill.data.raw import Raw
from tidemill.errors import LedgerError
from tidemill.ledger.record import Answered, Form, Role
from tidemill.serve.answering.version import Computed, Version

LOG = logging.getLogger("ray.serve")

_Batch = tuple[Version, Sequence[Answered], list[slice], Raw]


class Shadow:
    """Called in the event loop.

    Args:
        capacity: rows that may wait; a batch is taken whole or not at all.
        record: keeps entries, as the champion's are kept.
    """

    def __init__(self, capacity: int, record: Callable[[Sequence[Answered]], None]) -> None:
        self._capacity = capacity
        self._record = record
        self._queue: deque[_Batch] = deque()
        self._thread = ThreadPoolExecutor(1, "shadow")
        self._task: asyncio.Task[None] | None = None
        self.waiting = 0
        self.answered = 0
        self.shed = 0
        self.failed = 0
        """Rows: in the queue; answered; not answered for lack of time; not answered because the challenger failed."""

    def offer(self, challenger: Version, entries: Sequence[Answered], computed: Computed, busy: int) -> None:
        """What the champion has just answered. busy: rows that wait for the champion."""
        places = [place for place in computed.places if isinstance(place, slice)]
        rows = sum(place.stop - place.start for place in places)
        if self.waiting + rows > self._capacity or busy > self._capacity // 4:
            self.shed += rows
            return
        self._queue.append((challenger, entries, places, computed.raw))
        self.waiting += rows
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())

    @property
    def lag(self) -> float:
        """Age of the oldest rows that wait, in seconds."""
        return time.time() - self._queue[0][1][0].at / 1e9 if self._queue else 0.0

    @property
    def rows(self) -> dict[str, int]:
        """What became of them, waiting ones aside."""
        return {"answered": self.answered, "shed": self.shed, "failed": self.failed}

    async def close(self) -> None:
        if self._task is not None:
            await self._task
        self._thread.shutdown()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._queue:
            challenger, entries, places, raw = self._queue.popleft()
            rows = len(next(iter(raw.values())))
            try:
                answers = await loop.run_in_executor(self._thread, _answers, challenger, raw)
                now = time.time_ns()
                self._record(
                    [
                        msgspec.structs.replace(
                            entry,
                            version=challenger.number,
                            role=Role.SHADOW,
                            propensity=1.0,
                            latency=(now - entry.at) // 1000,
                            form=Form.NONE,
                            inputs=b"",
                            answers={name: values[place] for name, values in answers.items()},
                        )
                        for entry, place in zip(entries, places, strict=True)
                    ]
                )
                self.answered += rows
            except LedgerError:
                self.failed += rows
            except Exception:
                self.failed += rows
                LOG.exception("The shadow version %s failed", challenger.number)
            self.waiting -= rows
        self._task = None


def _answers(challenger: Version, raw: Raw) -> Answers:
    return challenger.predictor.predict(challenger.adapted(raw))
