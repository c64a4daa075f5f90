"""One replica's answers, end to end without Ray: batches, deadlines, the ledger, versions side by side, swaps."""

import asyncio
import contextlib
import io
import json
import os
import resource
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from serving_parts import OTHERS, ROW, Got, Stand, arguments, call, entries, followed, post, standing, started, varied

from patience import PATIENCE, until_async
from tidemill.bundle.registry.registry import Alias, Mode, Registry
from tidemill.data.raw import from_rows
from tidemill.ledger import tables
from tidemill.ledger.ledger import Ledger
from tidemill.ledger.record import Answered, Form, Label, Role
from tidemill.ledger.settings import LedgerSettings, WhenFull
from tidemill.serve.answering import choice
from tidemill.serve.answering.batcher import Queues
from tidemill.serve.answering.held import Held
from tidemill.serve.answering.version import Version
from tidemill.serve.wire import arrow
from tidemill.serve.wire.protocol import Limits

ARROW = [("Content-Type", arrow.TYPE.decode())]


@dataclass(frozen=True)
class Two:
    """A registry with two versions that answer differently, and both loaded."""

    registry: Registry
    champion: Version
    challenger: Version

    def canary(self, share: float = 0.5) -> Held[Version]:
        return Held(champion=self.champion, challenger=self.challenger, mode=Mode.CANARY, share=share)

    def expected(self, version: Version, rows: list[dict[str, Any]]) -> np.ndarray:
        plain = [{name: value for name, value in row.items() if name not in version.reader.others} for row in rows]
        return version.predictor.predict(from_rows(plain, version.reader.columns))["probabilities"]


@pytest.fixture(scope="module")
def two(small_multiclass: Any, tmp_path_factory: pytest.TempPathFactory) -> Two:
    place = tmp_path_factory.mktemp("two")
    registry = Registry(place / "registry")
    for name, shift in (("one", 0.0), ("other", 3.0)):
        registry.add("small", varied(small_multiclass.folder, place / name, columns=OTHERS, shift=shift))
    registry.promote("small", "1", by="me", reason="first")
    champion, challenger = (Version(place / "registry/small" / number) for number in "12")
    return Two(registry, champion, challenger)


@dataclass(frozen=True)
class Kept:
    """A ledger that ships nothing while the tests look, and its folder."""

    ledger: Ledger
    folder: Path

    def of(self, id: str) -> list[Answered]:
        return [entry for entry in entries(self.folder) if isinstance(entry, Answered) and entry.id == id]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    folder = tmp_path_factory.mktemp("ledger")
    ledger = Ledger(LedgerSettings(path=str(folder), ship_seconds=3600), "small")
    yield Kept(ledger, folder)
    ledger.close()


def rows_of(count: int) -> list[dict[str, Any]]:
    return [{**ROW, "size": 10.0 * row, "id": f"k{row}"} for row in range(count)]


def probabilities(got: Got) -> np.ndarray:
    predictions = got.json["predictions"]
    return np.array([list(prediction["probabilities"].values()) for prediction in predictions], np.float32)


def request_of(got: Got) -> str:
    return str(got.json["predictions"][0]["id"]).rpartition("-")[0]


def alone(version: Version) -> Held[Version]:
    return Held(champion=version)


# Batches


def test_requests_that_come_together_are_answered_each_with_its_own(two: Two) -> None:
    async def main() -> None:
        async with standing(alone(two.champion)) as stand:
            sizes = [1, 3, 2, 5, 0, 1]
            asked = [rows_of(9)[-size:] if size else [] for size in sizes]
            got = await asyncio.gather(*(post(stand.application, "/predict", {"rows": rows}) for rows in asked))
            assert stand.metrics.rows.sum == sum(sizes) and sum(stand.metrics.rows.counts) == 1, "one batch"
            ids = set()
            for answer, rows in zip(got, asked, strict=True):
                assert answer.status == 200
                if rows:
                    np.testing.assert_allclose(probabilities(answer), two.expected(two.champion, rows), atol=1e-6)
                ids |= {prediction["id"] for prediction in answer.json["predictions"]}
            assert len(ids) == sum(sizes)

    asyncio.run(main())


def test_one_bad_request_takes_no_other_with_it(two: Two) -> None:
    """All four pass the typed decoder; two are found wrong only when the batch is read."""

    async def main() -> None:
        async with standing(alone(two.champion)) as stand:
            good, odd = rows_of(2), {**ROW, "size": 2**53}
            late, wide = {**ROW, "at": "yesterday"}, {**ROW, "size": 2**53 + 1}
            asked = [good, [ROW, late], [odd], [wide], good]
            got = await asyncio.gather(*(post(stand.application, "/predict", {"rows": rows}) for rows in asked))
            assert sum(stand.metrics.rows.counts) == 1, "they came together"
            assert [answer.status for answer in got] == [200, 422, 200, 422, 200]
            assert "row 1, column 'at'" in got[1].observed and "row 0, column 'size'" in got[3].observed
            for answer, rows in ((got[0], good), (got[2], [odd]), (got[4], good)):
                np.testing.assert_allclose(probabilities(answer), two.expected(two.champion, rows), atol=1e-6)

    asyncio.run(main())


def test_statistics_tell_answers_from_refusals(two: Two, kept: Kept, monkeypatch: Any) -> None:
    """Refused requests once counted as successes, and none as a failure."""

    async def main() -> None:
        version = Version(Path(two.registry.path) / "small/1")
        async with standing(alone(version), kept.ledger, Queues(waiting=4)) as stand:

            def counts() -> list[Any]:
                found = version.statistics.document("small", "1")
                stats = found["inference_stats"]
                stages = [stats[name]["count"] for name in ("success", "fail", "queue", "compute_infer")]
                return [*stages, found["inference_count"], found["execution_count"]]

            async def ask(*bodies: list[dict[str, Any]], **more: Any) -> list[int]:
                got = await asyncio.gather(
                    *(post(stand.application, "/predict", {"rows": rows}, **more) for rows in bodies)
                )
                return [answer.status for answer in got]

            assert await ask(rows_of(1), [{**ROW, "at": "yesterday"}], rows_of(2)) == [200, 422, 200]
            assert counts() == [2, 1, 2, 2, 3, 1]
            assert await ask([{**ROW, "at": "yesterday"}]) == [422]
            assert await ask([ROW], headers=[("X-Request-Timeout-Seconds", "1e-9")]) == [504]
            assert counts() == [2, 3, 2, 2, 3, 1]
            with monkeypatch.context() as patch:
                patch.setattr(os, "write", lambda *_: _full())
                assert await ask([ROW]) == [503]
            assert counts() == [2, 4, 2, 2, 3, 1]
            with monkeypatch.context() as patch:
                patch.setattr(version.predictor, "_runtime", lambda raw: 1 / 0)
                assert await ask([ROW]) == [500]
            assert counts() == [2, 5, 2, 2, 3, 1]
            assert await ask(rows_of(3), rows_of(2)) == [200, 503], "the second finds the queue too full"
            assert counts() == [3, 6, 3, 3, 6, 2]

    asyncio.run(main())


def _full() -> int:
    raise OSError(28, "No space left on device")


def test_a_fault_in_a_batch_is_told_to_all_of_it_and_to_nobody_else(two: Two, monkeypatch: Any) -> None:
    async def main() -> None:
        async with standing(alone(two.champion)) as stand:

            def fault(raw: Any) -> Any:
                raise RuntimeError("secret of the inside")

            with monkeypatch.context() as patch:
                patch.setattr(two.champion.predictor, "_runtime", fault)
                got = await asyncio.gather(*(post(stand.application, "/predict", {"rows": [ROW]}) for _ in range(3)))
            assert [answer.status for answer in got] == [500] * 3
            assert all(b"secret" not in answer.body for answer in got)
            assert (await post(stand.application, "/predict", {"rows": [ROW]})).status == 200

    asyncio.run(main())


def test_a_fault_after_a_batch_leaves_nobody_waiting(two: Two, monkeypatch: Any) -> None:
    async def main() -> None:
        async with standing(alone(two.champion)) as stand:
            with monkeypatch.context() as patch:
                patch.setattr(stand.service._ledger, "answered", lambda entries: 1 / 0)
                got = await asyncio.wait_for(post(stand.application, "/predict", {"rows": [ROW]}), PATIENCE)
            assert got.status == 500 and b"division" not in got.body
            assert (await post(stand.application, "/predict", {"rows": [ROW]})).status == 200

    asyncio.run(main())


class Held_up:  # noqa: N801
    """A version's session that waits for a gate, so that what comes meanwhile gathers."""

    def __init__(self, version: Version, monkeypatch: Any) -> None:
        self.gate, self.entered, self.runs = threading.Event(), threading.Event(), 0
        run = version.predictor._runtime

        def slowly(raw: Any) -> Any:
            self.runs += 1
            self.entered.set()
            assert self.gate.wait(PATIENCE)
            return run(raw)

        monkeypatch.setattr(version.predictor, "_runtime", slowly)
        monkeypatch.setattr(version.cost, "fixed", 10.0)  # so that it runs in the thread

    async def begun(self) -> None:
        assert await asyncio.to_thread(self.entered.wait, PATIENCE)


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


# The ledger


def test_an_answer_is_in_the_ledger_before_it_leaves(two: Two, kept: Kept) -> None:
    async def main() -> None:
        async with standing(alone(two.champion), kept.ledger) as stand:
            seen: list[bool] = []
            body = json.dumps({"rows": rows_of(2)}).encode()
            message = iter([{"type": "http.request", "body": body, "more_body": False}])

            async def receive() -> Any:
                return next(message)

            async def send(part: Any) -> None:
                if part["type"] == "http.response.body":
                    got = Got(200, {}, part["body"])
                    seen.append(len(kept.of(request_of(got))) == 1)
                    (entry,) = kept.of(request_of(got))
                    assert entry.inputs == body and entry.form is Form.ROWS and entry.rows is None
                    assert (entry.version, entry.role, entry.propensity) == ("1", Role.CHAMPION, 1.0)
                    np.testing.assert_array_equal(entry.answers["probabilities"], probabilities(got))
                    labels = [prediction["label"] for prediction in got.json["predictions"]]
                    assert entry.answers["label"].tolist() == labels and entry.latency > 0

            scope = {"type": "http", "method": "POST", "path": "/predict", "headers": []}
            await stand.application(scope, receive, send)
            assert seen == [True]

    asyncio.run(main())


def test_a_batch_is_one_write_with_the_refused_left_out(two: Two, kept: Kept, monkeypatch: Any) -> None:
    async def main() -> None:
        async with standing(alone(two.champion), kept.ledger) as stand:
            writes: list[int] = []
            append = kept.ledger._wal.append  # type: ignore[union-attr]
            monkeypatch.setattr(kept.ledger._wal, "append", lambda frames: (writes.append(len(frames)), append(frames)))
            asked = [[ROW], [{**ROW, "at": "yesterday"}], [ROW, ROW]]
            got = await asyncio.gather(*(post(stand.application, "/predict", {"rows": rows}) for rows in asked))
            assert [answer.status for answer in got] == [200, 422, 200] and writes == [2]

    asyncio.run(main())


def test_answers_that_cannot_be_recorded_are_not_given(two: Two, kept: Kept, monkeypatch: Any) -> None:
    async def main() -> None:
        async with standing(alone(two.champion), kept.ledger) as stand:

            def full(*_: Any) -> int:
                raise OSError(28, "No space left on device")

            with monkeypatch.context() as patch:
                patch.setattr(os, "write", full)
                got = await asyncio.gather(*(post(stand.application, "/predict", {"rows": [ROW]}) for _ in range(2)))
                label = {"labels": [{"id": "aa-0", "label": "low"}]}
                feedback = await post(stand.application, "/feedback", label)
            for answer in (*got, feedback):
                assert answer.status == 503 and answer.headers["retry-after"] == "5"
                assert b"predictions" not in answer.body and "No space left" in answer.observed
            assert (await post(stand.application, "/predict", {"rows": [ROW]})).status == 200

    asyncio.run(main())


def test_a_ledger_that_refuses_is_told_by_health_and_counted_as_such(two: Two, tmp_path: Path) -> None:
    """It once was one more overload, and all was well by /health."""

    async def main() -> None:
        given = arguments(two.registry.path, ledger={"path": str(tmp_path), "ship_seconds": 3600})
        async with started(given) as replica:
            ask = replica.application
            before = resource.getrlimit(resource.RLIMIT_FSIZE)
            largest = max(path.stat().st_size for path in tmp_path.rglob("*.wal"))
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, before[1]))  # as a disk that is full
            try:
                assert (await post(ask, "/predict", {"rows": [ROW]})).status == 503
                replica._ledger._wal.tick()
                health = await call(ask, "GET", "/health")
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
            assert health and (health.status, health.json["status"]) == (503, "ledger refuses")
            replica.check()  # another replica here would refuse too
            replica._ledger._wal.tick()
            health = await call(ask, "GET", "/health")
            assert health and (health.status, health.json["status"]) == (200, "ok"), "without anybody's asking"
            assert (await post(ask, "/predict", {"rows": [ROW]})).status == 200
            await asyncio.to_thread(replica._observers.close)
            assert dict(replica.metrics.observer.refusals) == {("request", "ledger"): 1}
            text = replica.metrics.text().decode()
            assert (
                'tidemill_shadow_rows_total{outcome="shed"} 0.0' in text and "tidemill_ledger_failures_total 0" in text
            )

    asyncio.run(main())


def test_a_setting_lets_answers_go_on_without_record_and_counts_them(
    two: Two, tmp_path: Path, monkeypatch: Any
) -> None:
    async def main() -> None:
        settings = LedgerSettings(path=str(tmp_path), when_full=WhenFull.CONTINUE, ship_seconds=3600)
        ledger = Ledger(settings, "small")
        try:
            async with standing(alone(two.champion), ledger) as stand:

                def full(*_: Any) -> int:
                    raise OSError(28, "No space left on device")

                with monkeypatch.context() as patch:
                    patch.setattr(os, "write", full)
                    got = await post(stand.application, "/predict", {"rows": [ROW]})
                assert got.status == 200 and ledger.lost == 1
        finally:
            ledger.close()

    asyncio.run(main())


def test_without_a_ledger_answers_are_given_and_labels_refused(two: Two) -> None:
    async def main() -> None:
        async with standing(alone(two.champion)) as stand:
            assert (await post(stand.application, "/predict", {"rows": [ROW]})).status == 200
            label = {"labels": [{"id": "aa-0", "label": "low"}]}
            got = await post(stand.application, "/feedback", label)
            assert got.status == 404 and "set ledger.path" in got.json["error"]["remedy"]

    asyncio.run(main())


def test_labels_are_kept_by_the_ids_of_answers(two: Two, kept: Kept) -> None:
    async def main() -> None:
        async with standing(alone(two.champion), kept.ledger) as stand:
            got = await post(stand.application, "/predict", {"rows": [ROW]})
            id = got.json["predictions"][0]["id"]
            label = {"labels": [{"id": id, "label": "low"}, {"id": "ffff-7", "label": "mid"}]}
            assert (await post(stand.application, "/feedback", label)).json == {"received": 2}
            wrong = await post(stand.application, "/feedback", {"labels": [{"id": id, "label": "hgih"}]})
            assert wrong.status == 422 and "hgih" in wrong.observed
            found = [entry for entry in entries(kept.folder) if isinstance(entry, Label)]
            assert [(entry.id, entry.label) for entry in found] == [(id, "low"), ("ffff-7", "mid")]

    asyncio.run(main())


def test_labels_by_the_records_own_key_are_joined_and_masked_ones_refused(two: Two, tmp_path: Path) -> None:
    async def main(ledger: Ledger, last: int) -> Got:
        async with standing(alone(two.champion), ledger) as stand:
            rows = [{**ROW, "id": "7"}, {**ROW, "id": "8"}]
            assert (await post(stand.application, "/predict", {"rows": rows})).status == 200
            labels = {"labels": [{"key": 7, "label": "low"}, {"key": last, "label": "mid"}]}
            return await post(stand.application, "/feedback", labels)

    settings = LedgerSettings(path=str(tmp_path / "kept"), ship_seconds=0.1)
    with contextlib.closing(Ledger(settings, "small")) as ledger:
        assert asyncio.run(main(ledger, 9)).json == {"received": 2}
    found = tables.joined(settings, "small").sort("id").collect()
    assert found.select("key", "true_label").rows() == [("7", "low"), ("8", None)]
    masked = LedgerSettings(path=str(tmp_path / "masked"), columns={"id": "mask"})  # type: ignore[dict-item]
    with contextlib.closing(Ledger(masked, "small")) as ledger:
        got = asyncio.run(main(ledger, 8))
    assert got.status == 422 and got.observed == "ledger.columns.id=mask"
    assert "serve with ledger.columns.id=hash" in got.json["error"]["remedy"]


# Versions side by side


def test_a_version_can_be_pinned(two: Two, kept: Kept) -> None:
    async def main() -> None:
        async with standing(two.canary(0.01), kept.ledger) as stand:
            rows = rows_of(4)
            for version, role in ((two.champion, Role.CHAMPION), (two.challenger, Role.CANARY)):
                for number in (version.number, int(version.number)):
                    got = await post(stand.application, "/predict", {"rows": rows, "version": number})
                    assert got.json["version"] == version.number
                    np.testing.assert_allclose(probabilities(got), two.expected(version, rows), atol=1e-6)
                    (entry,) = kept.of(request_of(got))
                    assert (entry.version, entry.role, entry.propensity) == (version.number, role, 1.0)
                infer = f"/v2/models/small/versions/{version.number}/infer"
                body = {"inputs": [{"name": "open", "datatype": "BOOL", "shape": [1], "data": [True]}]}
                assert (await post(stand.application, infer, body)).json["model_version"] == version.number
            got = await post(stand.application, "/predict", {"rows": rows, "version": "9"})
            assert got.status == 404 and got.observed == "'9'; in use: 1, 2"

    asyncio.run(main())


def split(keys: list[str], share: float = 0.5) -> list[bool]:
    chosen: list[bool] = choice.assign(keys, "small", "2", share)[0].tolist()
    return chosen


def test_a_canary_tosses_with_the_registrys_secret(two: Two, kept: Kept) -> None:
    async def main() -> None:
        secret, keys = bytes(range(32)), [f"k{row}" for row in range(40)]
        async with standing(replace(two.canary(0.5), secret=secret), kept.ledger) as stand:
            got = await post(stand.application, "/predict", {"rows": rows_of(40), "keys": keys})
            chosen = choice.assign(keys, "small", "2", 0.5, secret)[0].tolist()
            assert [prediction["version"] == "2" for prediction in got.json["predictions"]] == chosen != split(keys)

    asyncio.run(main())


def merged(two: Two, rows: list[dict[str, Any]], chosen: list[bool]) -> np.ndarray:
    one, other = two.expected(two.champion, rows), two.expected(two.challenger, rows)
    return np.where(np.array(chosen)[:, None], other, one)


def test_a_canarys_rows_are_its_keys_and_each_row_gets_its_own_answer(two: Two, kept: Kept) -> None:
    async def main() -> None:
        async with standing(two.canary(0.3), kept.ledger) as stand:
            rows = rows_of(40)
            chosen = split([f"k{row}" for row in range(40)], 0.3)
            assert 2 < sum(chosen) < 38
            slow = [{**row, "note": ["a list sends all rows the slow way"]} for row in rows]
            for content in ({"rows": rows}, {"rows": rows}, {"rows": slow}):
                got = await post(stand.application, "/predict", content)
                predictions = got.json["predictions"]
                assert [prediction["version"] == "2" for prediction in predictions] == chosen, "sticky"
                np.testing.assert_allclose(probabilities(got), merged(two, rows, chosen), atol=1e-6)
                assert [prediction["id"].rpartition("-")[2] for prediction in predictions] == [*map(str, range(40))]
                found = {entry.role: entry for entry in kept.of(request_of(got))}
                assert found[Role.CANARY].rows == tuple(row for row in range(40) if chosen[row])
                assert found[Role.CHAMPION].rows == tuple(row for row in range(40) if not chosen[row])
                assert (found[Role.CANARY].propensity, found[Role.CHAMPION].propensity) == (0.3, 0.7)
                assert (found[Role.CANARY].version, found[Role.CHAMPION].version) == ("2", "1")
                _, tosses = choice.assign([f"k{row}" for row in range(40)], "small", "2", 0.3)
                for one in found.values():
                    assert one.rows is not None and one.tosses == tuple(tosses[row] for row in one.rows)
            keys = [f"other{row}" for row in range(40)]
            got = await post(stand.application, "/predict", {"rows": rows, "keys": keys})
            assert [prediction["version"] == "2" for prediction in got.json["predictions"]] == split(keys, 0.3)
            single = await post(stand.application, "/predict", {"rows": [rows[chosen.index(False)]]})
            assert single.json["version"] == "1"
            (entry,) = kept.of(request_of(single))
            assert (entry.role, entry.propensity, entry.rows) == (Role.CHAMPION, 0.7, None)
            assert entry.tosses == (tosses[chosen.index(False)],)
            single = await post(stand.application, "/predict", {"rows": [rows[chosen.index(True)]]})
            (entry,) = kept.of(request_of(single))
            assert (single.json["version"], entry.role, entry.propensity) == ("2", Role.CANARY, 0.3)

    asyncio.run(main())


def test_rows_without_a_key_are_left_to_chance(two: Two) -> None:
    async def main() -> None:
        async with standing(two.canary(0.5)) as stand:
            got = await post(stand.application, "/predict", {"rows": [ROW] * 60})
            versions = [prediction["version"] for prediction in got.json["predictions"]]
            ids = [prediction["id"] for prediction in got.json["predictions"]]
            assert set(versions) == {"1", "2"} and [version == "2" for version in versions] == split(ids)

    asyncio.run(main())


def test_a_wrong_row_under_a_canary_is_a_422(two: Two) -> None:
    async def main() -> None:
        async with standing(two.canary(0.5)) as stand:
            got = await post(stand.application, "/predict", {"rows": [*rows_of(4), {**ROW, "at": "yesterday"}]})
            assert got.status == 422 and "row 4, column 'at'" in got.observed

    asyncio.run(main())


def test_a_canary_by_the_open_protocol(two: Two, kept: Kept) -> None:
    async def main() -> None:
        async with standing(two.canary(), kept.ledger) as stand:
            count = 20
            rows = [{"open": True, "size": 10.0 * row} for row in range(count)]
            keys = [f"k{row}" for row in range(count)]
            inputs = [
                {"name": "open", "datatype": "BOOL", "shape": [count], "data": [True] * count},
                {"name": "size", "datatype": "FP64", "shape": [count], "data": [row["size"] for row in rows]},
            ]
            named = {"name": "id", "datatype": "BYTES", "shape": [count], "data": keys}
            got = await post(stand.application, "/v2/models/small/infer", {"inputs": [*inputs, named]})
            content = got.json
            versions = content["parameters"]["versions"].split(",")
            assert [version == "2" for version in versions] == split(keys), "by the key's column"
            found = {output["name"]: output["data"] for output in content["outputs"]}
            expected = merged(two, rows, split(keys))
            np.testing.assert_allclose(np.reshape(found["probabilities"], (count, -1)), expected, atol=1e-6)
            found = {entry.role: entry for entry in kept.of(content["parameters"]["request_id"])}
            assert found[Role.CANARY].propensity == 0.5 and found[Role.CANARY].form is Form.COLUMNS
            key = next(name for name in map(str, range(99)) if split([name])[0])
            got = await post(
                stand.application, "/v2/models/small/infer", {"inputs": inputs, "parameters": {"key": key}}
            )
            assert got.json["model_version"] == "2" and got.json["parameters"]["role"] == "canary"

    asyncio.run(main())


def test_a_canary_by_arrow(two: Two) -> None:
    async def main() -> None:
        async with standing(two.canary()) as stand:
            rows = [{"open": True, "size": 10.0 * row} for row in range(30)]
            keys = [f"k{row}" for row in range(30)]
            stream = io.BytesIO()
            pl.DataFrame(rows).with_columns(id=pl.Series(keys)).write_ipc_stream(stream)
            got = await post(stand.application, "/predict", stream.getvalue(), headers=ARROW)
            assert got.status == 200 and got.headers["content-type"] == arrow.TYPE.decode()
            table = pl.read_ipc_stream(io.BytesIO(got.body))
            assert [version == "2" for version in table["version"]] == split(keys)
            found = table.select(pl.col("^probability_.*$")).to_numpy()
            np.testing.assert_allclose(found, merged(two, rows, split(keys)), atol=1e-6)

    asyncio.run(main())


@pytest.mark.parametrize(("datatype", "data"), [("INT64", [7]), ("FP64", [7.5]), ("BOOL", [True]), ("BYTES", ["a"])])
def test_what_is_no_input_may_have_any_datatype(two: Two, kept: Kept, datatype: str, data: list[Any]) -> None:
    async def main() -> None:
        async with standing(Held(champion=two.champion), kept.ledger) as stand:
            inputs = [
                {"name": "open", "datatype": "BOOL", "shape": [1], "data": [True]},
                {"name": "id", "datatype": datatype, "shape": [1], "data": data},
            ]
            got = await post(stand.application, "/v2/models/small/infer", {"inputs": inputs})
            assert got.status == 200
            (entry,) = kept.of(got.json["parameters"]["request_id"])
            assert msgspec.msgpack.decode(entry.inputs)["id"] == data

    asyncio.run(main())


def test_arrow_pins_a_version_by_a_header(two: Two, kept: Kept) -> None:
    async def main() -> None:
        async with standing(two.canary(), kept.ledger) as stand:
            rows = rows_of(4)
            stream = io.BytesIO()
            pl.DataFrame(rows).write_ipc_stream(stream)
            for version in (two.champion, two.challenger):
                headers = [*ARROW, ("X-Model-Version", version.number)]
                got = await post(stand.application, "/predict", stream.getvalue(), headers=headers)
                found = pl.read_ipc_stream(io.BytesIO(got.body)).select(pl.col("^probability_.*$")).to_numpy()
                np.testing.assert_allclose(found, two.expected(version, rows), atol=1e-6)
                got = await post(stand.application, "/predict", {"rows": rows}, headers=headers[1:])
                assert got.json["version"] == version.number, "JSON may say it there, too"
            headers = [*ARROW, ("X-Model-Version", "9")]
            got = await post(stand.application, "/predict", stream.getvalue(), headers=headers)
            assert got.status == 404 and got.observed == "'9'; in use: 1, 2"

    asyncio.run(main())


# The shadow


async def shadowed(stand: Stand) -> None:
    await until_async(lambda: not stand.service.shadow.waiting)


def shadow(two: Two) -> Held[Version]:
    return Held(champion=two.champion, challenger=two.challenger, mode=Mode.SHADOW)


def test_a_shadows_answers_are_recorded_and_never_returned(two: Two, kept: Kept) -> None:
    async def main() -> None:
        async with standing(shadow(two), kept.ledger) as stand:
            asked = [rows_of(3), [{**ROW, "at": "yesterday"}], rows_of(2)]
            got = await asyncio.gather(*(post(stand.application, "/predict", {"rows": rows}) for rows in asked))
            assert [answer.status for answer in got] == [200, 422, 200]
            await shadowed(stand)
            for answer, rows in ((got[0], asked[0]), (got[2], asked[2])):
                assert answer.json["version"] == "1"
                np.testing.assert_allclose(probabilities(answer), two.expected(two.champion, rows), atol=1e-6)
                first, second = kept.of(request_of(answer))
                assert (first.version, first.role) == ("1", Role.CHAMPION)
                assert (second.version, second.role, second.propensity) == ("2", Role.SHADOW, 1.0)
                assert (second.form, second.inputs, second.at) == (Form.NONE, b"", first.at)
                expected = two.expected(two.challenger, rows)
                np.testing.assert_allclose(second.answers["probabilities"], expected, atol=1e-6)
            assert (stand.service.shadow.answered, stand.service.shadow.shed) == (5, 0)

    asyncio.run(main())


def test_a_shadow_that_cannot_keep_up_is_shed_and_the_champion_goes_on(two: Two, monkeypatch: Any) -> None:
    async def main() -> None:
        held_up = Held_up(two.challenger, monkeypatch)
        async with standing(shadow(two), queues=Queues(shadow=6)) as stand:
            got = [await post(stand.application, "/predict", {"rows": rows_of(3)}) for _ in range(4)]
            assert [answer.status for answer in got] == [200] * 4
            assert (stand.service.shadow.waiting, stand.service.shadow.shed) == (6, 6)
            held_up.gate.set()
            await shadowed(stand)
            assert stand.service.shadow.answered == 6 and stand.service.shadow.lag == 0.0

    asyncio.run(main())


def test_a_shadow_goes_without_while_requests_wait(two: Two, monkeypatch: Any) -> None:
    async def main() -> None:
        held_up = Held_up(two.champion, monkeypatch)
        async with standing(shadow(two), queues=Queues(batch=4, waiting=100, shadow=8)) as stand:
            tasks = [asyncio.create_task(post(stand.application, "/predict", {"rows": rows_of(4)}))]
            await held_up.begun()
            tasks += [asyncio.create_task(post(stand.application, "/predict", {"rows": rows_of(4)})) for _ in "ab"]
            await asyncio.sleep(0)
            held_up.gate.set()
            assert [got.status for got in await asyncio.gather(*tasks)] == [200] * 3
            await shadowed(stand)
            assert stand.service.shadow.shed >= 4 and stand.service.shadow.answered >= 4
            assert stand.service.shadow.shed + stand.service.shadow.answered == 12

    asyncio.run(main())


def test_a_shadow_that_fails_is_counted_and_harms_nobody(two: Two, monkeypatch: Any) -> None:
    async def main() -> None:
        async with standing(shadow(two)) as stand:
            with monkeypatch.context() as patch:
                patch.setattr(two.challenger.predictor, "_runtime", lambda raw: 1 / 0)
                assert (await post(stand.application, "/predict", {"rows": rows_of(3)})).status == 200
                await shadowed(stand)
            assert (await post(stand.application, "/predict", {"rows": rows_of(2)})).status == 200
            await shadowed(stand)
            assert (stand.service.shadow.failed, stand.service.shadow.answered) == (3, 2)

    asyncio.run(main())


# Swaps, by the registry


def test_a_swap_leaves_requests_in_hand_with_the_version_they_began_with(two: Two, monkeypatch: Any) -> None:
    async def main() -> None:
        held_up = Held_up(two.champion, monkeypatch)
        async with standing(alone(two.champion)) as stand:
            tasks = [asyncio.create_task(post(stand.application, "/predict", {"rows": rows_of(2)}))]
            await held_up.begun()
            tasks.append(asyncio.create_task(post(stand.application, "/predict", {"rows": rows_of(3)})))
            await asyncio.sleep(0)
            stand.service.held = alone(two.challenger)
            monkeypatch.setattr(two.challenger.cost, "scale", 0.0)  # so that it runs in the loop, on a busy machine too
            after = await post(stand.application, "/predict", {"rows": rows_of(2)})
            assert after.json["version"] == "2", "it waits for nobody"
            held_up.gate.set()
            before = await asyncio.gather(*tasks)
            assert [got.json["version"] for got in before] == ["1", "1"]
            np.testing.assert_allclose(probabilities(before[1]), two.expected(two.champion, rows_of(3)), atol=1e-6)

    asyncio.run(main())


def test_the_registry_is_followed_unloaded_and_loaded(two: Two) -> None:
    async def main() -> None:
        async with started(arguments(two.registry.path, watch_seconds=60)) as replica:
            ask = replica.application
            assert (await post(ask, "/predict", {"rows": [ROW]})).json["version"] == "1"
            two.registry.promote("small", "2", Alias.CHALLENGER, by="me", reason="try")
            two.registry.set_rollout("small", Mode.SHADOW, by="me", reason="look")
            await followed(replica)
            health = await call(ask, "GET", "/health")
            assert health and health.json["rollout"]["versions"] == {"champion": "1", "challenger": "2"}
            two.registry.promote("small", "2", by="me", reason="better")
            await followed(replica)
            assert (await post(ask, "/predict", {"rows": [ROW]})).json["version"] == "2"
            two.registry.rollback("small", by="me", reason="worse")
            await followed(replica)
            assert (await post(ask, "/predict", {"rows": [ROW]})).json["version"] == "1"

            assert (await post(ask, "/v2/repository/models/small/unload", {})).status == 200
            for path in ("/predict", "/v2/models/small/infer"):
                got = await post(ask, path, {"rows": [ROW]})
                assert got.status == 503 and got.headers["retry-after"] == "10" and b"unloaded" in got.body
            health = await call(ask, "GET", "/health")
            assert health and health.status == 503 and health.json["status"] == "unloaded"
            ready = await call(ask, "GET", "/v2/health/ready")
            assert ready and ready.status == 503
            assert (await post(ask, "/v2/repository/models/other/load", {})).status == 404
            assert (await post(ask, "/v2/repository/models/small/load", {})).status == 200
            assert (await post(ask, "/predict", {"rows": [ROW]})).json["version"] == "1"

    asyncio.run(main())


def test_a_version_by_number_stays(two: Two) -> None:
    async def main() -> None:
        async with started(arguments(two.registry.path, alias="2")) as replica:
            assert (await post(replica.application, "/predict", {"rows": [ROW]})).json["version"] == "2"
            got = await post(replica.application, "/v2/repository/models/small/unload", {})
            assert got.status == 409 and "version 2 is" in got.json["error"]

    asyncio.run(main())


def test_limits_of_rows_hold_in_every_protocol(two: Two) -> None:
    async def main() -> None:
        async with standing(alone(Version(Path(two.registry.path) / "small/1", limits=Limits(rows=2)))) as stand:
            infer = {"inputs": [{"name": "open", "datatype": "BOOL", "shape": [3], "data": [True] * 3}]}
            assert (await post(stand.application, "/v2/models/small/infer", infer)).status == 413
        async with standing(alone(two.champion), limits=Limits(rows=2)) as stand:
            assert (await post(stand.application, "/predict", {"rows": [ROW] * 3})).status == 413
            stream = io.BytesIO()
            pl.DataFrame([{"open": True}] * 3).write_ipc_stream(stream)
            got = await post(stand.application, "/predict", stream.getvalue(), headers=ARROW)
            assert got.status == 413 and got.observed == "3 rows"

    asyncio.run(main())


# The server's own question


def test_only_who_has_the_starts_secret_is_answered_without_being_recorded(
    two: Two, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def asked(given: str, held: Held[Version]) -> list[Answered]:
        async with standing(held, kept.ledger) as stand:
            got = await post(stand.application, "/predict", {"rows": rows_of(2)}, headers=[("X-Tidemill-Own", given)])
        assert got.status == 200 and len(got.json["predictions"]) == 2
        return kept.of(request_of(got))

    both = Held(champion=two.champion, challenger=two.challenger, mode=Mode.SHADOW)
    for secret, given, recorded in (("s3cret", "s3cret", 0), ("s3cret", "guess", 2), ("s3cret", "", 2), (None, "", 2)):
        if secret is None:
            monkeypatch.delenv("TIDEMILL_OWN")
        else:
            monkeypatch.setenv("TIDEMILL_OWN", secret)
        assert len(asyncio.run(asked(given, both))) == recorded, "the champion's answer and the shadow's"


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
