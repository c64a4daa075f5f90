"""One replica's answers, end to end without Ray: batches, faults, statistics, the ledger's door."""

import asyncio
import os
from pathlib import Path
from typing import Any

import numpy as np
from service_parts import Kept, Two, alone, kept, probabilities, rows_of, two
from serving_parts import ROW, post, standing

from patience import PATIENCE
from tidemill.serve.answering.batcher import Queues
from tidemill.serve.answering.version import Version

__all__ = ["kept", "two"]


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
