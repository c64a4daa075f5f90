"""What one replica records of its answers and labels, and what it does when it cannot."""

import asyncio
import contextlib
import json
import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
from service_parts import Kept, Two, alone, kept, probabilities, request_of, rows_of, two
from serving_parts import ROW, Got, arguments, call, entries, post, standing, started

from tidemill.ledger import tables
from tidemill.ledger.ledger import Ledger
from tidemill.ledger.record import Form, Label, Role
from tidemill.ledger.settings import Cover, LedgerSettings, WhenFull

__all__ = ["kept", "two"]


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
    masked = LedgerSettings(path=str(tmp_path / "masked"), columns={"id": Cover.MASK})
    with contextlib.closing(Ledger(masked, "small")) as ledger:
        got = asyncio.run(main(ledger, 8))
    assert got.status == 422 and got.observed == "ledger.columns.id=mask"
    assert "serve with ledger.columns.id=hash" in got.json["error"]["remedy"]
