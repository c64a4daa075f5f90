"""The batcher: work-conserving. It runs at once when nothing runs, and gathers only while something does.

Two ways to run, chosen by what the batch is expected to take (measured at load, corrected by what earlier ones took):

- a short one runs right in the event loop: handing it to a thread would cost more than it does. Meanwhile requests
  gather in the sockets, and the loop's next turn reads all of them into the next batch;
- a long one runs in a thread (ONNX Runtime gives up the interpreter's lock), and requests gather in the queue.

Requests keep their order and are never cut; a request of many rows counts as many rows.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from tidemill.settings.rules import Positive

_INLINE = 0.002
"""Seconds: what may run in the event loop. Longer ones would hold up reading, health checks and cancellations."""
_MEMORY = 0.9
"""Weight of the past in the moving average."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Queues:
    """Rows. batch: run together at most. waiting: that may wait. shadow: that may wait for the shadow.

    requests: in a replica's hands at once; more are refused before their bodies are read.
    """

    batch: Annotated[int, Positive] = 1024
    waiting: Annotated[int, Positive] = 4096
    shadow: Annotated[int, Positive] = 4096
    requests: Annotated[int, Positive] = 256


class Job(Protocol):
    """What is batched: something of `count` rows."""

    @property
    def count(self) -> int: ...


@dataclass(slots=True)
class Cost:
    """Seconds that a batch takes: `fixed` + rows × `per_row`, times `scale`, which follows what is seen."""

    fixed: float
    per_row: float
    scale: float = 1.0

    def of(self, rows: int) -> float:
        return self.scale * (self.fixed + rows * self.per_row)

    def seen(self, rows: int, seconds: float) -> None:
        self.scale = _MEMORY * self.scale + (1 - _MEMORY) * seconds / (self.fixed + rows * self.per_row)


class Batcher:
    """One session's queue. All methods are called in the event loop.

    Args:
        compute: a batch → its result; runs in the loop or in a thread.
        finish: a batch, its result or the exception that ended it, and when it was taken up (monotonic, seconds); runs
            in the loop.
        executor: where long batches run.
        max_rows: a batch's rows (a single request may have more).
        max_queue: rows that may wait.
        cost: what batches are expected to take.
    """

    def __init__(
        self,
        compute: Callable[[Sequence[Any]], Any],
        finish: Callable[[Sequence[Any], Any, float], None],
        executor: Executor,
        *,
        max_rows: int,
        max_queue: int,
        cost: Cost,
    ) -> None:
        self._compute = compute
        self._finish = finish
        self._executor = executor
        self._max_rows = max_rows
        self._max_queue = max_queue
        self._cost = cost
        self._queue: deque[Any] = deque()
        self._busy = False
        self.waiting = 0  # rows
        self.running = 0  # rows

    def offer(self, job: Job) -> bool:
        """Take a job, unless the queue is full. One of more rows than the queue holds is taken when nothing waits."""
        if self.waiting and self.waiting + job.count > self._max_queue:
            return False
        self._queue.append(job)
        self.waiting += job.count
        if not self._busy:
            self._busy = True
            asyncio.get_running_loop().call_soon(self._dispatch)  # after all that this turn of the loop has read
        return True

    @property
    def delay(self) -> float:
        """Seconds until a job offered now would be answered, about."""
        return self._cost.of(self.waiting + self.running)

    def _dispatch(self) -> None:
        batch = self._take()
        begun = time.monotonic()
        if self._cost.of(self.running) > _INLINE:
            future = asyncio.get_running_loop().run_in_executor(self._executor, self._caught, batch)
            future.add_done_callback(lambda done: self._done(batch, done.result(), begun))
        else:
            self._done(batch, self._caught(batch), begun)

    def _take(self) -> list[Any]:
        batch = [self._queue.popleft()]
        rows = batch[0].count
        while self._queue and rows + self._queue[0].count <= self._max_rows:
            job = self._queue.popleft()
            batch.append(job)
            rows += job.count
        self.waiting -= rows
        self.running = rows
        return batch

    def _caught(self, batch: Sequence[Any]) -> Any:
        try:
            begun = time.perf_counter()
            result = self._compute(batch)
            self._cost.seen(self.running, time.perf_counter() - begun)
        except Exception as error:
            return error
        return result

    def _done(self, batch: Sequence[Any], result: Any, begun: float) -> None:
        self.running = 0
        if self._queue:
            asyncio.get_running_loop().call_soon(self._dispatch)
        else:
            self._busy = False
        self._finish(batch, result, begun)
