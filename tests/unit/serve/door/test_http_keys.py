"""Keys over HTTP: what each opens, and when a request without one is refused."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from http_parts import BODY, check_error, registry, serving
from serving_parts import call, post

from patience import PATIENCE
from tidemill import cli
from tidemill.errors import RequestError
from tidemill.serve.replica import Replica

__all__ = ["registry"]


def made(tmp_path: Path, capsys: Any, *more: str) -> str:
    capsys.readouterr()
    assert cli.main(["keys", "create", "--file", str(tmp_path / "keys.json"), "--name", "app", *more]) == 0
    return str(capsys.readouterr().out.strip())


COUNTS = ("/metrics", "/profile", "/v2/models/stats", "/v2/models/small/stats", "/v2/models/small/versions/1/stats")


def test_keys_open_what_they_are_good_for(registry: str, tmp_path: Path, capsys: Any) -> None:
    app = made(tmp_path, capsys, "--scopes", "predict")
    rare = made(tmp_path, capsys, "--scopes", "predict,feedback", "--rate", "0.01")
    operator = made(tmp_path, capsys, "--scopes", "metrics,admin")

    async def main(replica: Replica) -> None:
        ask = replica.application
        for headers in ([], [("Authorization", "Bearer wrong")], [("X-API-Key", app + "x")], [("Authorization", app)]):
            for path in ("/predict", "/feedback", "/v2/models/small/infer", "/v2/repository/models/small/unload"):
                got = check_error(await post(ask, path, BODY, headers=headers), 401)
                assert got.headers["www-authenticate"] == "Bearer"
            for path in COUNTS:
                check_error(await call(ask, "GET", path, headers=headers), 401)
        for name, value in (
            ("Authorization", f"Bearer {app}"),
            ("authorization", f"bearer {app} "),
            ("X-API-Key", app),
        ):
            assert (await post(ask, "/predict", BODY, headers=[(name, value)])).status == 200
        mine = [("X-API-Key", app)]
        check_error(await post(ask, "/feedback", {"labels": []}, headers=mine), 403, "not for feedback")
        for path in COUNTS:
            check_error(await call(ask, "GET", path, headers=mine), 403, "not for metrics")
        unload = "/v2/repository/models/small/unload"
        check_error(await post(ask, unload, {}, headers=mine), 403, "not for admin")
        for path in COUNTS:
            found = await call(ask, "GET", path, headers=[("X-API-Key", operator)])
            assert found and found.status == 200
        statistics = "ModelStatistics"
        replica.backend.admit(statistics, {"x-api-key": operator})
        for metadata, status in (({}, 401), ({"x-api-key": app}, 403)):
            with pytest.raises(RequestError) as caught:
                replica.backend.admit(statistics, metadata)
            assert caught.value.status == status
        for path in ("/health", "/openapi.json", "/v2/health/live", "/v2/models/small"):
            answer = await call(ask, "GET", path)
            assert answer and answer.status == 200, "open to all"
        assert (await post(ask, "/predict", BODY, headers=[("X-API-Key", rare)])).status == 200
        got = check_error(await post(ask, "/predict", BODY, headers=[("X-API-Key", rare)]), 429, "requests a second")
        assert int(got.headers["retry-after"]) > 1

    serving(registry, main, keys=tmp_path / "keys.json")


def test_without_keys_statistics_are_open_as_tritons_clients_expect(registry: str) -> None:
    async def main(replica: Replica) -> None:
        for path in COUNTS:
            got = await call(replica.application, "GET", path)
            assert got and got.status == 200
        check_error(await post(replica.application, "/v2/models/stats", {}), 405)
        replica.backend.admit("ModelStatistics", {})

    serving(registry, main)


def test_a_refusal_for_want_of_a_key_comes_before_the_body_is_read(registry: str, tmp_path: Path, capsys: Any) -> None:
    made(tmp_path, capsys)

    async def main(replica: Replica) -> None:
        got = await call(replica.application, "POST", "/predict", b"x" * 10**6)
        check_error(got, 401)

    serving(registry, main, keys=tmp_path / "keys.json")


@pytest.mark.slow
def test_a_revoked_key_is_refused_within_seconds(registry: str, tmp_path: Path, capsys: Any) -> None:
    key = made(tmp_path, capsys)
    file = str(tmp_path / "keys.json")

    async def main(replica: Replica) -> None:
        headers = [("X-API-Key", key)]
        assert (await post(replica.application, "/predict", BODY, headers=headers)).status == 200
        assert cli.main(["keys", "revoke", key.split("_")[1], "--file", file]) == 0
        async with asyncio.timeout(PATIENCE):
            while (await post(replica.application, "/predict", BODY, headers=headers)).status != 401:
                await asyncio.sleep(0.05)

    serving(registry, main, keys=file)
