"""The batcher by events, never by the clock: what runs together, in which order, and what waits for what."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from patience import PATIENCE
from tidemill.serve.answering.batcher import Batcher, Cost

SHORT, LONG = Cost(fixed=1e-6, per_row=0.0), Cost(fixed=1.0, per_row=0.0)


@dataclass(eq=False)
class Job:
    name: str
    count: int = 1


@dataclass
class Seen:
    """What a batcher did. gate: long batches wait for it in their thread."""

    batches: list[list[str]] = field(default_factory=list)
    finished: list[tuple[str, Any]] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def compute(self, batch: Any) -> Any:
        self.batches.append([job.name for job in batch])
        self.threads.append(threading.get_ident())
        if threading.current_thread() is not threading.main_thread():
            self.entered.release()
            assert self.gate.wait(PATIENCE)
        if any(job.name == "bad" for job in batch):
            raise ValueError("bad")
        return [job.name.upper() for job in batch]

    def finish(self, batch: Any, result: Any, begun: float) -> None:
        for position, job in enumerate(batch):
            self.finished.append((job.name, result if isinstance(result, Exception) else result[position]))


def run(
    main: Callable[[Batcher, Seen], Coroutine[Any, Any, None]], cost: Cost = SHORT, rows: int = 4, queue: int = 8
) -> Seen:
    async def started() -> Seen:
        seen = Seen()
        with ThreadPoolExecutor(1) as executor:
            batcher = Batcher(
                seen.compute,
                seen.finish,
                executor,
                max_rows=rows,
                max_queue=queue,
                cost=Cost(fixed=cost.fixed, per_row=cost.per_row),
            )
            try:
                await asyncio.wait_for(main(batcher, seen), PATIENCE)
            finally:
                seen.gate.set()
        return seen

    return asyncio.run(started())


def idle(batcher: Batcher) -> bool:
    return not batcher.waiting and not batcher.running


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_an_idle_session_is_used_in_the_same_turn_of_the_loop() -> None:
    async def main(batcher: Batcher, seen: Seen) -> None:
        assert idle(batcher) and batcher.offer(Job("a")) and not idle(batcher)
        assert seen.batches == [], "what this turn has read yet may come along"
        batcher.offer(Job("b"))
        await asyncio.sleep(0)
        assert seen.batches == [["a", "b"]] and idle(batcher), "one turn later, without any timer"
        assert seen.finished == [("a", "A"), ("b", "B")]
        batcher.offer(Job("c"))
        await asyncio.sleep(0)
        assert seen.batches[1:] == [["c"]]

    assert set(run(main).threads) == {threading.get_ident()}, "short batches run in the loop"


def test_a_batch_has_at_most_its_rows_in_order_and_cuts_no_request() -> None:
    async def main(batcher: Batcher, seen: Seen) -> None:
        for name, count in (("a", 3), ("b", 2), ("c", 2), ("d", 1)):
            assert batcher.offer(Job(name, count))
        assert batcher.waiting == 8
        await until(lambda: idle(batcher))

    seen = run(main)
    assert seen.batches == [["a"], ["b", "c"], ["d"]], "d does not overtake, b is not cut to fill the first batch"
    assert [name for name, _ in seen.finished] == ["a", "b", "c", "d"]


def test_a_request_larger_than_a_batch_runs_alone() -> None:
    async def main(batcher: Batcher, seen: Seen) -> None:
        for name, count in (("a", 1), ("big", 6), ("b", 1)):
            assert batcher.offer(Job(name, count))
        await until(lambda: idle(batcher))

    assert run(main).batches == [["a"], ["big"], ["b"]]


def test_the_queue_is_bounded_in_rows() -> None:
    async def main(batcher: Batcher, seen: Seen) -> None:
        assert batcher.offer(Job("huge", 100)), "when nothing waits, even more than the queue holds"
        assert not batcher.offer(Job("b")) and batcher.waiting == 100
        await until(lambda: idle(batcher))
        assert batcher.offer(Job("c", 8)) and not batcher.offer(Job("d", 1))
        await until(lambda: idle(batcher))
        assert batcher.waiting == batcher.running == 0 and batcher.offer(Job("e"))
        await until(lambda: idle(batcher))

    assert run(main).batches == [["huge"], ["c"], ["e"]]


def test_long_batches_run_in_the_thread_while_requests_gather() -> None:
    async def main(batcher: Batcher, seen: Seen) -> None:
        batcher.offer(Job("a"))
        await asyncio.to_thread(seen.entered.acquire)
        assert batcher.running == 1 and seen.finished == []
        for name in "bcdef":
            assert batcher.offer(Job(name))
            await asyncio.sleep(0)
        assert seen.batches == [["a"]] and batcher.waiting == 5, "the loop turns, and nothing else is begun"
        assert batcher.delay == LONG.fixed
        seen.gate.set()
        await until(lambda: idle(batcher))

    seen = run(main, LONG)
    assert seen.batches == [["a"], ["b", "c", "d", "e"], ["f"]], "all that came meanwhile, up to a batch's rows"
    assert threading.get_ident() not in seen.threads
    assert [name for name, _ in seen.finished] == [*"abcdef"]


@pytest.mark.parametrize("cost", [SHORT, LONG], ids=["short", "long"])
def test_a_batch_that_fails_stops_no_other(cost: Cost) -> None:
    async def main(batcher: Batcher, seen: Seen) -> None:
        seen.gate.set()
        for name, count in (("a", 4), ("bad", 4)):
            batcher.offer(Job(name, count))
        await until(lambda: idle(batcher))
        batcher.offer(Job("b"))
        await until(lambda: idle(batcher))

    seen = run(main, cost)
    assert seen.finished[0] == ("a", "A") and seen.finished[2] == ("b", "B")
    assert isinstance(seen.finished[1][1], ValueError)


def test_what_batches_take_is_learnt() -> None:
    cost = Cost(fixed=0.001, per_row=0.0001)
    assert cost.of(10) == pytest.approx(0.002)
    cost.seen(10, 0.004)
    assert cost.of(10) == pytest.approx(0.0022), "a tenth of the way to twice as slow"
    for _ in range(200):
        cost.seen(10, 0.004)
    assert cost.of(10) == pytest.approx(0.004) and cost.of(20) == pytest.approx(0.006)
    for _ in range(200):
        cost.seen(100, 0.011)
    assert cost.of(10) == pytest.approx(0.002)


def test_a_batcher_measures_its_batches_and_moves_them_between_loop_and_thread() -> None:
    async def main(batcher: Batcher, seen: Seen) -> None:
        seen.gate.set()
        for _ in range(100):
            batcher.offer(Job("a"))
            await until(lambda: idle(batcher))

    seen = run(main, LONG)
    assert seen.threads[0] != threading.get_ident() and seen.threads[-1] == threading.get_ident()
