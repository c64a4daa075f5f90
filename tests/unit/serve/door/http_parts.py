"""A replica behind its application, and how its refusals look over HTTP."""

import asyncio
import json
from typing import Any

import pytest
from serving_parts import ROW, Got, arguments, started

from tidemill.bundle.registry.registry import Registry

BODY = json.dumps({"rows": [ROW]}).encode()
LIMITS = {"rows": 5, "bytes": 1000, "seconds": 0.3}


@pytest.fixture(scope="module")
def registry(small_multiclass: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    registry = Registry(tmp_path_factory.mktemp("registry"))
    registry.promote("small", registry.add("small", small_multiclass.folder), by="me", reason="first")
    return registry.path


def serving(registry: str, main: Any, **more: Any) -> None:
    async def started_main() -> None:
        async with started(arguments(registry, **{"limits": LIMITS, **more})) as replica:
            await main(replica)

    asyncio.run(started_main())


def check_error(got: Got | None, status: int, text: str = "") -> Got:
    """Our errors are JSON, with rule, observation and remedy."""
    assert got is not None and got.status == status, got
    assert got.headers["content-type"] == "application/json" and int(got.headers["content-length"]) == len(got.body)
    error = got.json["error"]
    if isinstance(error, dict):
        assert error.keys() == {"rule", "observed", "remedy"} and all(error.values())
    assert text in got.body.decode()
    return got


HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\n"
