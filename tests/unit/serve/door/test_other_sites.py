"""Pages of other sites drive no server that has no keys."""

import asyncio
from pathlib import Path

import pytest
from attacks_parts import registry
from serving_parts import ROW, arguments, call, post, started

from tidemill.serve.door import key_file

__all__ = ["registry"]
UNLOAD = "/v2/repository/models/small/unload"


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, "Sec-Fetch-Site: cross-site"),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://h:8000"}, "Sec-Fetch-Site: same-site"),
        ({"Origin": "https://evil.example"}, "Origin: https://evil.example"),
        ({"Origin": "null"}, "Origin: null"),
        ({"Origin": "http://h:8001"}, "Origin: http://h:8001"),
        ({"Origin": ""}, "Origin: "),
        ({"Origin": "http://H:8000", "Sec-Fetch-Site": "same-origin"}, None),
        ({"Origin": "https://behind.a.gateway", "Sec-Fetch-Site": "same-origin"}, None),
        ({"Sec-Fetch-Site": "none"}, None),
        ({}, None),
    ],
)
def test_other_sites_pages_drive_no_server_without_keys(
    registry: str, headers: dict[str, str], refused: str | None
) -> None:
    """A page on the machine that serves once unloaded the model by fetch(..., {mode: 'no-cors', method: 'POST'})."""

    async def main() -> None:
        async with started(arguments(registry)) as replica:
            given = [("Host", "h:8000"), *headers.items()]
            for path in ("/predict", "/feedback", "/v2/repository/index", "/v2/models/small/infer"):
                got = await post(replica.application, path, {}, headers=given)
                assert (got.status == 403) is (refused is not None)
                if refused is not None:
                    assert "without keys takes nothing that a web page" in got.body.decode()
                    assert refused.strip() in got.body.decode() and b"keys=FILE" in got.body
            if refused is not None:
                assert (await post(replica.application, UNLOAD, {}, headers=given)).status == 403
            health = await call(replica.application, "GET", "/health", headers=given)
            assert health is not None and health.json["status"] == "ok"
            await asyncio.to_thread(replica._observers.close)
            assert replica.metrics.observer.refusals["request", "site"] == (0 if refused is None else 5)

    asyncio.run(main())


def test_with_keys_a_page_that_has_one_may_ask(registry: str, tmp_path: Path) -> None:
    _, text = key_file.create(tmp_path / "keys.json", "page", [key_file.Scope.PREDICT])

    async def main() -> None:
        async with started(arguments(registry, keys=tmp_path / "keys.json")) as replica:
            given = [("Origin", "https://page.example"), ("Sec-Fetch-Site", "cross-site"), ("X-API-Key", text)]
            assert (await post(replica.application, "/predict", {"rows": [ROW]}, headers=given)).status == 200

    asyncio.run(main())
