"""Every route of every application that we deploy asks for a key, but for those that are listed here."""

import asyncio
import importlib
import json
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from serving_parts import arguments, call, started

from tidemill.bundle.registry.registry import Registry
from tidemill.errors import RequestError, SettingsError
from tidemill.ledger.settings import LedgerSettings
from tidemill.serve.door import key_file
from tidemill.serve.door.http import Application, Endpoint
from tidemill.serve.door.inference import servicer
from tidemill.serve.door.keys import Keys, Scope
from tidemill.steward import app as steward, status

OPEN = {
    "/health",
    "/",
    "/docs",
    "/openapi.json",
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/small",
    "/v2/models/small/config",
    "/v2/models/small/ready",
    "/v2/models/small/versions/1",
    "/v2/models/small/versions/1/config",
    "/v2/models/small/versions/1/ready",
    "/v2/repository/index",
}
OPEN_CALLS = {
    *("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelConfig", "RepositoryIndex"),
}
APPLICATIONS = {"tidemill.serve.on_ray.app:build", "tidemill.steward.app:build"}
CONFIG = Path(__file__).parents[4] / "serving/config.yaml"


@pytest.fixture(scope="module")
def registry(small_multiclass: Any, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    registry = Registry(tmp_path_factory.mktemp("registry"))
    registry.promote("small", registry.add("small", small_multiclass.folder), by="me", reason="first")
    return registry


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    key_file.create(tmp_path / "keys.json", "somebody", list(Scope))
    return tmp_path / "keys.json"


def test_every_application_that_is_deployed_is_asked_here() -> None:
    deployed = {entry["import_path"]: entry["args"] for entry in yaml.safe_load(CONFIG.read_text())["applications"]}
    assert deployed.keys() == APPLICATIONS
    for path, given in deployed.items():
        module, _, name = path.partition(":")
        assert callable(getattr(importlib.import_module(module), name))
        assert given["keys"] == "/srv/keys.json", "the example serves every interface"


def test_a_route_that_says_nothing_of_keys_asks_for_one() -> None:
    async def handler(request: Any) -> Any: ...

    assert Endpoint(handler, ("GET",)).scope is Scope.ADMIN


async def _open(application: Application, paths: set[str]) -> set[str]:
    """Those that anybody is answered by."""
    found = set()
    for path in paths:
        for method in ("GET", "POST"):
            got = await call(application, method, path, *([b"{}"] if method == "POST" else []))
            assert got is not None
            if got.status not in (401, 405):
                found.add(path)
    return found


def test_nobody_is_answered_without_a_key_by_http(registry: Registry, keys: Path) -> None:
    async def main() -> None:
        async with started(arguments(registry.path, keys=keys)) as replica:
            document = await call(replica.application, "GET", "/openapi.json")
            assert document is not None
            named = {path.format(model="small", version="1") for path in document.json["paths"]}
            assert {"/predict", "/feedback", "/metrics", "/profile"} <= named | {"/profile"}
            more = {f"/v2/models/small{rest}" for rest in ("", "/config", "/ready", "/stats", "/infer")}
            more |= {path.replace("small", "small/versions/1") for path in more}
            more |= {f"/v2/repository/models/small/{verb}" for verb in ("load", "unload")}
            more |= {"/v2", "/v2/health/live", "/v2/health/ready", "/v2/repository/index", "/profile", "/health"}
            assert await _open(replica.application, named | more) == OPEN
            for path in ("/steward", "/x", "/v2/x"):  # which are none: nothing is behind them
                got = await call(replica.application, "GET", path)
                assert got is not None and got.status == 404

    asyncio.run(main())


def test_nobody_is_answered_without_a_key_by_grpc(registry: Registry, keys: Path) -> None:
    async def main() -> None:
        async with started(arguments(registry.path, keys=keys)) as replica:
            found = set()
            for rpc in (*servicer._UNARY, "ModelStreamInfer", "OneThatIsNewAndSaysNothing"):
                try:
                    replica.backend.admit(rpc, {})
                    found.add(rpc)
                except RequestError as error:
                    assert error.status == 401
            assert found == OPEN_CALLS
            assert servicer.status_code(401) is grpc.StatusCode.UNAUTHENTICATED

    asyncio.run(main())


def test_the_steward_tells_those_who_have_a_key_for_metrics(tmp_path: Path) -> None:
    ledger = LedgerSettings(path=str(tmp_path / "ledger"))
    (tmp_path / "ledger/m/steward").mkdir(parents=True)
    (tmp_path / "ledger/m" / status.FILE).write_text('{"alarms": ["a client\'s value"]}')
    file = tmp_path / "keys.json"
    key = key_file.create(file, "prometheus", [Scope.METRICS])[1]
    other = key_file.create(file, "app", [Scope.PREDICT])[1]
    given = {"registry": str(tmp_path / "registry"), "model": "m", "ledger": ledger}

    async def main() -> None:
        keyed = steward.application(steward.Arguments(**given, keys=file), Keys(file))
        for path in ("/steward", "/steward/", "/", "/anything"):
            assert await _open(keyed, {path}) == set()
            for headers, wanted in (((), 401), ((("X-API-Key", other),), 403), ((("X-API-Key", key),), 200)):
                got = await call(keyed, "GET", path, headers=headers)
                assert got is not None and got.status == wanted
                assert (b"a client's value" in got.body) is (wanted == 200)
        posted = await call(keyed, "POST", "/steward", b"", headers=[("Origin", "https://evil.example")])
        assert posted is not None and posted.status == 405
        unkeyed = await call(steward.application(steward.Arguments(**given), None), "GET", "/steward")
        assert unkeyed is not None and unkeyed.status == 403, "closed where nothing is set"
        assert "set `keys`" in json.loads(unkeyed.body)["error"]["remedy"]

    asyncio.run(main())


def test_the_stewards_arguments_are_checked_as_all_settings_are() -> None:
    given = {"registry": "registry", "model": "m", "ledger": {"path": "ledger", "ship_seconds": -1}, "polcy": None}
    with pytest.raises(SettingsError) as raised:
        steward.build(given)
    said = str(raised.value)
    assert "ledger.ship_seconds = -1.0: must be greater than 0" in said
    assert "polcy = None: no such key" in said and "did you mean policy?" in said and "serving/config.yaml" in said
