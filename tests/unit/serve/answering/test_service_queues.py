"""Deadlines, full queues and bodies on their way: what one replica takes in hand, and for how long."""

import asyncio
import json
from typing import Any

import pytest
from service_parts import Held_up, Two, alone, rows_of, two
from serving_parts import ROW, post, standing

from tidemill.serve.answering.batcher import Queues
from tidemill.serve.wire.protocol import Limits

__all__ = ["two"]


def test_a_deadline_that_passes_in_the_queue_is_a_504_and_not_computed(two: Two, monkeypatch: Any) -> None:
    async def main() -> None:
        held_up = Held_up(two.champion, monkeypatch)
        async with standing(alone(two.champion)) as stand:
            first = asyncio.create_task(post(stand.application, "/predict", {"rows": [ROW]}))
            await held_up.begun()
            short = [("X-Request-Timeout-Seconds", "0.001")]
            late = asyncio.create_task(post(stand.application, "/predict", {"rows": rows_of(2)}, headers=short))
            ample = [("X-Request-Timeout-Seconds", "60")]
            other = asyncio.create_task(post(stand.application, "/predict", {"rows": rows_of(3)}, headers=ample))
            infer = {"inputs": [{"name": "open", "datatype": "BOOL", "shape": [1], "data": [True]}]}
            timed = {**infer, "parameters": {"timeout": 1}}
            late_infer = asyncio.create_task(post(stand.application, "/v2/models/small/infer", timed))
            await asyncio.sleep(0.01)
            held_up.gate.set()
            assert (await first).status == 200 and (await other).status == 200
            assert (await late).status == 504 and "had waited" in (await late).observed
            assert (await late_infer).status == 504
            assert stand.metrics.rows.sum == 1 + 3, "rows of the late were not computed"

    asyncio.run(main())


@pytest.mark.parametrize("given", ["0", "-1", "soon", "nan", "inf", "1e9", "", "\xff"])
def test_a_deadline_is_a_number_of_seconds(two: Two, given: str) -> None:
    async def main() -> None:
        async with standing(alone(two.champion)) as stand:
            headers = [("X-Request-Timeout-Seconds", given)]
            got = await post(stand.application, "/predict", {"rows": [ROW]}, headers=headers)
            assert got.status == 400 and "x-request-timeout-seconds" in got.json["error"]["rule"]

    asyncio.run(main())


def test_a_request_that_is_given_up_takes_no_other_with_it(two: Two, monkeypatch: Any) -> None:
    async def main() -> None:
        held_up = Held_up(two.champion, monkeypatch)
        async with standing(alone(two.champion)) as stand:
            tasks = [asyncio.create_task(post(stand.application, "/predict", {"rows": [ROW]})) for _ in range(3)]
            await held_up.begun()
            tasks[0].cancel()
            await asyncio.sleep(0)
            held_up.gate.set()
            assert [(await task).status for task in tasks[1:]] == [200, 200]
            assert stand.traffic.ongoing == 0

    asyncio.run(main())


def test_a_full_queue_is_a_503_with_retry_after(two: Two, monkeypatch: Any) -> None:
    async def main() -> None:
        held_up = Held_up(two.champion, monkeypatch)
        async with standing(alone(two.champion), queues=Queues(batch=4, waiting=4)) as stand:
            tasks = [asyncio.create_task(post(stand.application, "/predict", {"rows": [ROW]}))]
            await held_up.begun()
            tasks += [asyncio.create_task(post(stand.application, "/predict", {"rows": rows_of(3)}))]
            await asyncio.sleep(0)
            refused = await post(stand.application, "/predict", {"rows": rows_of(2)})
            assert refused.status == 503 and int(refused.headers["retry-after"]) >= 1
            assert refused.observed == "3 rows wait" and "At most 4 rows" in refused.json["error"]["rule"]
            tasks += [asyncio.create_task(post(stand.application, "/predict", {"rows": [ROW]}))]
            await asyncio.sleep(0)
            assert stand.service.waiting == 4
            refused = await post(stand.application, "/predict", "this is not read")
            assert refused.status == 503 and int(refused.headers["retry-after"]) == 1
            assert refused.observed == "4 requests and 4 rows" and "4 waiting rows" in refused.json["error"]["rule"]
            held_up.gate.set()
            assert [got.status for got in await asyncio.gather(*tasks)] == [200] * 3

    asyncio.run(main())


def test_more_requests_than_a_replica_may_hold_are_refused_unread(two: Two, monkeypatch: Any) -> None:
    async def main() -> None:
        held_up = Held_up(two.champion, monkeypatch)
        async with standing(alone(two.champion), queues=Queues(requests=2)) as stand:
            tasks = [asyncio.create_task(post(stand.application, "/predict", {"rows": [ROW]}))]
            await held_up.begun()
            tasks += [asyncio.create_task(post(stand.application, "/predict", {"rows": [ROW]}))]
            await asyncio.sleep(0)
            refused = await post(stand.application, "/predict", "this is not read")
            assert refused.status == 503 and refused.observed == "3 requests and 1 rows"
            held_up.gate.set()
            assert [got.status for got in await asyncio.gather(*tasks)] == [200] * 2
            assert (await post(stand.application, "/predict", {"rows": [ROW]})).status == 200

    asyncio.run(main())


def test_bodies_on_their_way_take_nobodys_place(two: Two) -> None:
    async def main() -> None:
        async with standing(alone(two.champion), queues=Queues(requests=1)) as stand:
            coming = asyncio.Event()

            async def receive() -> Any:
                await coming.wait()
                return {"type": "http.request", "body": json.dumps({"rows": [ROW]}).encode(), "more_body": False}

            sent: list[Any] = []

            async def send(part: Any) -> None:
                sent.append(part)

            scope = {"type": "http", "method": "POST", "path": "/predict", "headers": [(b"content-length", b"500")]}
            slow = asyncio.create_task(stand.application(scope, receive, send))
            await asyncio.sleep(0)
            assert (await post(stand.application, "/predict", {"rows": [ROW]})).status == 200
            coming.set()
            await slow
            assert sent[0]["status"] == 200

    asyncio.run(main())


# Bodies on their way


class Slowly:
    """A client whose body comes in parts, when the test says."""

    def __init__(self, application: Any, path: str, *, told: int | None = None) -> None:
        self.parts: asyncio.Queue[Any] = asyncio.Queue()
        self.sent: list[Any] = []
        headers = [] if told is None else [(b"content-length", str(told).encode())]
        scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
        self.task = asyncio.create_task(application(scope, self._receive, self._send))

    async def _receive(self) -> Any:
        return await self.parts.get()

    async def _send(self, message: Any) -> None:
        self.sent.append(message)

    async def part(self, content: bytes, *, last: bool = False) -> None:
        self.parts.put_nowait({"type": "http.request", "body": content, "more_body": not last})
        for _ in range(5):
            await asyncio.sleep(0)

    @property
    def status(self) -> int | None:
        return self.sent[0]["status"] if self.sent else None


KIB = 1024


@pytest.mark.parametrize("path", ["/predict", "/feedback", "/v2/models/small/infer"])
def test_long_bodies_on_their_way_are_bounded_together(two: Two, path: str) -> None:
    """They once were not: each connection could hold `limits.bytes`."""

    async def main() -> None:
        limits = Limits(held=300 * KIB, bytes=400 * KIB)
        async with standing(alone(two.champion), limits=limits) as stand:
            first = Slowly(stand.application, path, told=350 * KIB)  # one alone may be longer than all together
            await asyncio.sleep(0)
            assert stand.traffic.held == 350 * KIB
            second = Slowly(stand.application, path, told=100 * KIB)
            await second.task
            retry = dict(second.sent[0]["headers"])[b"retry-after"]
            assert second.status == 503 and retry == b"1" and b"at most 307200 bytes" in second.sent[1]["body"]
            small = [Slowly(stand.application, path, told=64 * KIB) for _ in range(20)]
            assert (await post(stand.application, "/predict", {"rows": [ROW]})).status == 200
            await small[0].part(b" " * 64 * KIB)
            assert not any(one.task.done() for one in small) and stand.traffic.held == 350 * KIB
            first.parts.put_nowait({"type": "http.disconnect"})
            await first.task
            assert first.status is None and stand.traffic.held == 0
            chunked = [Slowly(stand.application, path) for _ in range(3)]
            for one in chunked:
                await one.part(b" " * 64 * KIB)
                assert stand.traffic.held == 0
            for one in chunked:
                await one.part(b" " * 64 * KIB)
            assert stand.traffic.held == 256 * KIB and [one.status for one in chunked] == [None, None, 503]
            for one in (*chunked[:2], *small):
                one.parts.put_nowait({"type": "http.disconnect"})
                await one.task
            assert stand.traffic.held == stand.traffic.ongoing == stand.traffic.predicting == 0

    asyncio.run(main())


def test_a_long_body_is_counted_until_it_is_answered(two: Two, monkeypatch: Any) -> None:
    async def main() -> None:
        held_up = Held_up(two.champion, monkeypatch)
        async with standing(alone(two.champion), limits=Limits(held=200 * KIB)) as stand:
            body = json.dumps({"rows": [ROW]}).encode() + b" " * 150 * KIB
            task = asyncio.create_task(post(stand.application, "/predict", body))
            await held_up.begun()
            assert stand.traffic.held == len(body)
            refused = await post(stand.application, "/predict", body)
            assert refused.status == 503 and refused.observed == f"{len(body)} bytes, and {len(body)} more"
            held_up.gate.set()
            assert (await task).status == 200 and stand.traffic.held == 0
            assert (await post(stand.application, "/predict", body)).status == 200

    asyncio.run(main())


def test_bodies_that_end_together_do_not_all_enter(two: Two, monkeypatch: Any) -> None:
    """All of them were admitted when nothing was in hand."""

    async def main() -> None:
        held_up = Held_up(two.champion, monkeypatch)
        async with standing(alone(two.champion), queues=Queues(requests=2)) as stand:
            slow = [Slowly(stand.application, "/predict") for _ in range(5)]
            body = json.dumps({"rows": [ROW]}).encode()
            for one in slow:
                await one.part(body[:9])
            for one in slow:
                await one.part(body[9:], last=True)
            await held_up.begun()
            assert [one.status for one in slow] == [None, None, 503, 503, 503]
            held_up.gate.set()
            await asyncio.gather(*(one.task for one in slow))
            assert [one.status for one in slow[:2]] == [200, 200]

    asyncio.run(main())
