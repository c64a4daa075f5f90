"""The shadow, swaps by the registry, and the server's own question."""

import asyncio
import io
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from service_parts import ARROW, Held_up, Kept, Two, alone, kept, probabilities, request_of, rows_of, two
from serving_parts import ROW, Stand, arguments, call, followed, post, standing, started

from patience import until_async
from tidemill.bundle.registry.registry import Alias, Mode
from tidemill.ledger.record import Answered, Form, Role
from tidemill.serve.answering.active import Active
from tidemill.serve.answering.batcher import Queues
from tidemill.serve.answering.version import Version
from tidemill.serve.wire.protocol import Limits

__all__ = ["kept", "two"]


# The shadow


async def shadowed(stand: Stand) -> None:
    await until_async(lambda: not stand.service.shadow.waiting)


def shadow(two: Two) -> Active:
    return Active(champion=two.champion, challenger=two.challenger, mode=Mode.SHADOW)


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
            stand.service.active = alone(two.challenger)
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
    async def asked(given: str, active: Active) -> list[Answered]:
        async with standing(active, kept.ledger) as stand:
            got = await post(stand.application, "/predict", {"rows": rows_of(2)}, headers=[("X-Tidemill-Own", given)])
        assert got.status == 200 and len(got.json["predictions"]) == 2
        return kept.of(request_of(got))

    both = Active(champion=two.champion, challenger=two.challenger, mode=Mode.SHADOW)
    for secret, given, recorded in (("s3cret", "s3cret", 0), ("s3cret", "guess", 2), ("s3cret", "", 2), (None, "", 2)):
        if secret is None:
            monkeypatch.delenv("TIDEMILL_OWN")
        else:
            monkeypatch.setenv("TIDEMILL_OWN", secret)
        assert len(asyncio.run(asked(given, both))) == recorded, "the champion's answer and the shadow's"
