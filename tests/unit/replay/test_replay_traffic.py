"""Records through a real HTTP server in order of time, labels when they are known, and every failure counted."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from replay_parts import BEGIN, records, registry_of, served, timeline_of

from tidemill.bundle.predictor import Predictor
from tidemill.data.raw import from_table
from tidemill.ledger import tables
from tidemill.ledger.settings import LedgerSettings
from tidemill.replay.live import traffic
from tidemill.replay.live.connections import Connections
from tidemill.replay.live.traffic import Sent, TrafficSettings
from tidemill.replay.table.timeline import Timeline


async def send(timeline: Timeline, port: int, manner: TrafficSettings = TrafficSettings(), pause: Any = None) -> Sent:  # noqa: B008
    sent = Sent(ids=[None] * len(timeline))
    async with Connections("127.0.0.1", port, manner.connections) as server:
        await traffic.send(timeline, timeline.rows, server, manner, pause, sent)
    return sent


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 4])
def test_everything_arrives_in_the_ledger_with_its_label(small_multiclass: Any, tmp_path: Path, rows: int) -> None:
    registry = registry_of(small_multiclass.folder, tmp_path)
    timeline = timeline_of(records(60, every=5))

    async def main() -> Sent:
        async with served(registry, tmp_path / "ledger") as (port, _):
            return await send(timeline, port, TrafficSettings(rows=rows))

    sent = asyncio.run(main())
    assert (sent.served, sent.labels, sent.failures, sent.unlabelled) == (300, 300, {}, {})
    assert [(day["day"], day["records"]) for day in sent.days] == [
        (BEGIN.date() + timedelta(days=n), count) for n, count in enumerate((120, 120, 60))
    ]
    ledger = LedgerSettings(path=str(tmp_path / "ledger"))
    kept = tables.joined(ledger, "small").collect()
    both = sent.frame(timeline.moments).join(kept, on="id", how="left", maintain_order="left")
    assert both["true_label"].to_list() == [timeline.target.classes[code] for code in timeline.labels]
    assert both["event_at"].to_list() == timeline.known.to_list()
    given = both["inputs"].struct.unnest()
    assert given["at"].to_list() == timeline.moments.to_list()
    assert given["id"].to_list() == timeline.rows["id"].to_list()
    predictor = Predictor(small_multiclass.folder)
    expected = predictor.predict(from_table(timeline.rows, predictor.columns))["probabilities"]
    assert np.allclose(np.array(both["probabilities"].to_list()), expected, atol=1e-6)


Answering = Callable[[str, Any], Awaitable[tuple[int, Any] | None]]


@contextlib.asynccontextmanager
async def answering(answer: Answering) -> AsyncIterator[int]:
    """The port of an HTTP server that answers what it is told to; None: it closes the connection instead."""

    talks = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
                found = await answer(head.split()[1], json.loads(await reader.readexactly(length)))
                if found is None:
                    break
                body = found[1] if isinstance(found[1], bytes) else json.dumps(found[1]).encode()
                writer.write(f"HTTP/1.1 {found[0]} -\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
    await asyncio.gather(*filter(None, talks))


def good(path: str, content: Any) -> tuple[int, Any]:
    if path == "/feedback":
        return 200, {"received": len(content["labels"])}
    return 200, {"predictions": [{"id": f"{abs(hash(row['id'])):x}-0"} for row in content["rows"]]}


def test_order_of_time_and_labels_only_when_they_are_known() -> None:
    timeline = timeline_of(records(48, every=3), delay=timedelta(hours=2, minutes=30))
    heard: list[tuple[str, datetime]] = []
    pauses: list[tuple[datetime, int]] = []

    async def answer(path: str, content: Any) -> tuple[int, Any]:
        if path == "/predict":
            heard.append((path, datetime.fromisoformat(content["rows"][0]["at"])))
            await asyncio.sleep(0.001 * (len(heard) % 3))  # those of one hour overtake each other
        else:
            heard.extend((path, datetime.fromisoformat(label["at"])) for label in content["labels"])
        return good(path, content)

    async def main() -> None:
        async def pause(latest: datetime) -> None:
            pauses.append((latest, len(heard)))

        async with answering(answer) as port:
            await send(timeline, port, pause=pause)

    asyncio.run(main())
    hours = [moment.replace(minute=0) for path, moment in heard if path == "/predict"]
    assert hours == sorted(hours) and len(hours) == 144
    assert len(heard) == 288
    for index, (path, moment) in enumerate(heard):
        if path == "/feedback":
            passed = [at for what, at in heard[:index] if what == "/predict"]
            later = [at for what, at in heard[index:] if what == "/predict"]
            assert max(passed) < moment + timedelta(hours=1), "as soon as its hour is over"
            assert not later or min(later) >= moment, "never before"
    assert [latest for latest, _ in pauses] == [BEGIN + timedelta(days=n, minutes=2) for n in (0, 1)]
    assert pauses[0][1] == 3, "after the first hour of a day"


def test_failures_are_counted_by_reason_and_their_labels_are_not_sent() -> None:
    timeline = timeline_of(records(8))
    answers = {
        "r1": (503, {"error": {"rule": "There is room", "observed": "none", "remedy": "wait"}}),
        "r2": (200, {"predictions": []}),
        "r3": (200, b"[]"),
        "r4": (500, b"oh"),
        "r5": None,
    }
    labels: list[str] = []

    async def answer(path: str, content: Any) -> tuple[int, Any] | None:
        if path == "/predict":
            name = content["rows"][0]["id"]
            return answers.get(name, (200, {"predictions": [{"id": name}]}))
        labels.extend(label["id"] for label in content["labels"])
        if "r0" in labels[-1]:
            return 200, {"received": 7}
        return (422, b"wrong") if "r6" in labels[-1] else (200, {"received": 1})

    async def main() -> Sent:
        async with answering(answer) as port:
            return await send(timeline, port)

    sent = asyncio.run(main())
    assert sent.ids == ["r0", *[None] * 5, "r6", "r7"]
    reasons = list(sent.failures)
    assert reasons[:2] == ["503: There is room", "200, but 0 predictions for 1 rows"]
    assert reasons[2].startswith("200, but not predictions: Expected `object`")
    assert reasons[3] == "500: oh"
    assert reasons[4].startswith("no answer: IncompleteReadError")
    assert set(sent.failures.values()) == {1}
    assert labels == ["r0", "r6", "r7"]
    assert sent.labels == 1
    assert sent.unlabelled == {"200, but 7 of 1 labels received": 1, "422: wrong": 1}
    assert sent.days[0]["failed"] == 5


def test_nobody_there_is_a_failure_of_every_record() -> None:
    sent = asyncio.run(send(timeline_of(records(3)), 9))
    assert sent.served == 0 and sum(sent.failures.values()) == 3
    assert all(reason.startswith("no answer: ConnectionRefusedError") for reason in sent.failures)


def test_a_connection_that_the_server_closed_while_idle_is_opened_anew() -> None:
    async def main() -> None:
        async def answer(path: str, content: Any) -> tuple[int, Any]:
            return good(path, content)

        async with answering(answer) as port, Connections("127.0.0.1", port, 1) as server:
            body = json.dumps({"rows": [{"id": "a"}]}).encode()
            assert [found.status for found in await server.post("/predict", [body])] == [200]
            streams = server._connections[0]._streams
            assert streams is not None
            streams[0].feed_eof()
            streams[1].transport.abort()
            await asyncio.sleep(0.01)
            assert [found.status for found in await server.post("/predict", [body])] == [200]

    asyncio.run(main())


def test_speed_is_in_simulated_days_a_second() -> None:
    async def answer(path: str, content: Any) -> tuple[int, Any]:
        return good(path, content)

    async def main() -> float:
        async with answering(answer) as port:
            begun = time.monotonic()
            await send(timeline_of(records(24)), port, TrafficSettings(speed=4.0))
            return time.monotonic() - begun

    assert asyncio.run(main()) >= 0.25


def test_the_journal_says_which_answer_belongs_to_which_record() -> None:
    moments = pl.Series("moment", [datetime(2013, 1, 1, tzinfo=UTC)] * 2, dtype=pl.Datetime("us", "UTC"))
    frame = Sent(ids=["a-0", None]).frame(moments)
    assert frame.columns == ["number", "moment", "id"]
    assert frame["id"].to_list() == ["a-0", None]
