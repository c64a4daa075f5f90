"""The thin wrapper of Ray Serve, its builder, and a replica that cannot be: all without a cluster."""

import asyncio
import http.client
import json
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.serve._private import haproxy_templates
from serving_parts import arguments, call, post, started

from patience import PATIENCE
from tidemill.bundle.registry import store
from tidemill.bundle.registry.registry import Alias, Registry
from tidemill.errors import BundleError, RegistryError, RequestError, SettingsError
from tidemill.serve.door import isolation
from tidemill.serve.door.inference.servicer import PEER
from tidemill.serve.on_ray import app, ingress, scaling
from tidemill.serve.replica import Replica


@pytest.fixture(scope="module")
def registry(small_multiclass: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    registry = Registry(tmp_path_factory.mktemp("registry"))
    registry.promote("small", registry.add("small", small_multiclass.folder), by="me", reason="first")
    return registry.path


def start(given: Any) -> None:
    async def main() -> None:
        async with started(given):
            pass

    asyncio.run(main())


def test_what_cannot_be_served_is_named(registry: str, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="other"):
        start(arguments(registry, model="other"))
    with pytest.raises(RegistryError, match="small/7"):
        start(arguments(registry, alias="7"))
    copy = shutil.copytree(registry, tmp_path / "copy")
    (copy / "small/1/golden.json").write_text("{}")
    for alias in ("champion", "1"):
        with pytest.raises(BundleError, match=r"golden\.json in .* was altered"):
            start(arguments(str(copy), alias=alias))


def test_a_ledger_that_cannot_hide_what_it_should_does_not_start(registry: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"Each name in ledger\.columns .* Got: nonsense"):
        start(arguments(registry, ledger={"path": str(tmp_path / "ledger"), "columns": {"nonsense": "mask"}}))


def test_keys_that_cannot_be_read_stop_the_start(registry: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="tidemill keys create"):
        Replica(arguments(registry, keys=tmp_path / "none.json"), "r1")


def test_a_bundle_that_was_carried_to_another_place_is_refused(registry: str, tmp_path: Path) -> None:
    copy = shutil.copytree(registry, tmp_path / "copy")
    shutil.copytree(copy / "small/1", copy / "small/2")
    with pytest.raises(BundleError, match="small/1 in the place of small/2"):
        start(arguments(str(copy), alias="2"))


def test_the_builder_makes_an_application() -> None:
    built = app.application(arguments("r", model="m", provider="cuda", drain_seconds=5, replicas=2))
    deployment = built._bound_deployment
    assert deployment.ray_actor_options == {"num_cpus": 1.0, "num_gpus": 1}
    assert deployment.num_replicas == 2 and deployment.name == "m"
    config = deployment._deployment_config
    assert config.graceful_shutdown_timeout_s == 35 and config.max_ongoing_requests >= 1_000_000
    grown = app.application(arguments("r", model="m", replicas=2, maximum=5, cpus=0.5))._bound_deployment
    scaled = grown._deployment_config.autoscaling_config
    assert (scaled.min_replicas, scaled.max_replicas) == (2, 5) and grown.ray_actor_options["num_cpus"] == 0.5


def test_an_alias_that_nobody_follows_is_one_version_for_all_replicas(registry: str) -> None:
    Registry(registry).promote("small", "1", Alias.CANDIDATE, by="me", reason="newest")
    (given,) = app.application(arguments(registry, alias="candidate"))._bound_deployment.init_args
    assert given.alias == "1"
    (given,) = app.application(arguments(registry))._bound_deployment.init_args
    assert given.alias == "champion"


def test_a_server_on_loopback_answers_no_other_machine_by_grpc(registry: str) -> None:
    async def main() -> None:
        async with started(arguments(registry, here=True)) as replica:
            replica.backend.admit("ModelInfer", {PEER: "ipv4:127.0.0.1:5000"})
            for given in ({PEER: "ipv4:192.0.2.2:5000"}, {}):
                with pytest.raises(RequestError, match="on loopback answers its own machine") as caught:
                    replica.backend.admit("ServerLive", given)
                assert caught.value.status == 403
        async with started(arguments(registry)) as replica:
            replica.backend.admit("ModelInfer", {PEER: "ipv4:192.0.2.2:5000"})

    asyncio.run(main())


def test_a_registry_that_cannot_be_written_is_named_to_who_unloads(registry: str, tmp_path: Path) -> None:
    copy = shutil.copytree(registry, tmp_path / "copy")

    async def main() -> None:
        async with started(arguments(str(copy))) as replica:
            lock = copy / "small" / store._LOCK
            lock.unlink(missing_ok=True)
            lock.mkdir()  # who may write everywhere cannot open it either
            for action in ("unload", "load"):
                got = await post(replica.application, f"/v2/repository/models/small/{action}", {})
                assert got.status == 503, got.body
                assert "The registry can be reached, read and written" in got.json["error"]
                assert "check the path, its permissions" in got.json["error"]
            assert replica.service.held.serving

    asyncio.run(main())


@pytest.mark.parametrize(
    ("reported", "wanted"),
    [({}, 3), ({"a": 0.0}, 1), ({"a": 10.0, "b": 11.0}, 3), ({"a": 20.0}, 2), ({"a": 500.0}, 5)],
)
def test_the_queue_decides_how_many_replicas_there_are(reported: dict[str, float], wanted: int) -> None:
    context = SimpleNamespace(
        aggregated_metrics={scaling.METRIC: reported} if reported else {},
        target_num_replicas=3,
        policy_state={"kept": 1},
        config=SimpleNamespace(get_target_ongoing_requests=lambda: 10),
        capacity_adjusted_min_replicas=1,
        capacity_adjusted_max_replicas=5,
    )
    assert scaling.by_queue(context) == (wanted, {"kept": 1})


def test_the_door_takes_requests_and_leaves_rays_own_alone(registry: str, monkeypatch: Any) -> None:
    async def main() -> None:
        async def rays(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 299, "headers": []})
            await send({"type": "http.response.body", "body": b"Ray's"})

        door = ingress.Door(rays)
        early = await call(door, "GET", "/health")
        assert early and early.status == 299, "before the replica stands"
        async with started(arguments(registry)) as replica:
            monkeypatch.setattr(ingress, "application", replica.application)
            got = await post(door, "/predict", {"rows": [{"open": True}]})
            assert got.status == 200 and replica.ongoing == 0
            for path in ("/-/healthz", "/-/routes"):
                check = await call(door, "GET", path)
                assert check and check.body == b"Ray's"

    asyncio.run(main())


def test_settings_of_the_environment_stay_as_somebody_set_them(monkeypatch: Any) -> None:
    monkeypatch.setenv("RAY_SERVE_HAPROXY_NBTHREAD", "7")
    monkeypatch.delenv("RAY_SERVE_ENABLE_HA_PROXY", raising=False)
    found = ingress.environment(haproxy=True)
    assert found["RAY_SERVE_HAPROXY_NBTHREAD"] == "7" and found["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
    assert "RAY_SERVE_ENABLE_HA_PROXY" not in ingress.environment(haproxy=False)


@pytest.mark.parametrize(
    ("status", "kind", "wanted"),
    [(404, b"text/plain; charset=utf-8", 503), (404, b"application/json", 404), (200, b"text/plain", 200)],
)
def test_where_rays_proxy_finds_no_application_it_says_later(status: int, kind: bytes, wanted: int) -> None:
    async def rays(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})
        await send({"type": "http.response.body", "body": b"Path not", "more_body": True})
        await send({"type": "http.response.body", "body": b" found"})

    got = asyncio.run(call(ingress.Door(rays), "GET", "/predict"))
    assert got and got.status == wanted
    if wanted == 503:
        assert got.headers["retry-after"] == "1" and int(got.headers["content-length"]) == len(got.body)
        assert json.loads(got.body)["error"]["remedy"] == "try again"
    else:
        assert got.body == b"Path not found"


@pytest.mark.skipif(not ingress.has_haproxy(), reason="there is no HAProxy")
def test_where_there_is_no_application_haproxy_says_later(tmp_path: Path, monkeypatch: Any) -> None:
    """Ray's own template is looked at: another one of a later Ray must not pass unnoticed."""
    monkeypatch.delenv(ingress._BINARY, raising=False)
    script = ingress.launcher(tmp_path)[ingress._BINARY]
    template = Path(haproxy_templates.__file__).read_text(encoding="utf-8")
    (answer,) = re.findall(ingress.NOWHERE, template)
    configuration = tmp_path / "haproxy.cfg"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    frontend = f"defaults\n mode http\n timeout client 1s\nfrontend f\n bind 127.0.0.1:{port}\n {answer}\n"
    configuration.write_text(frontend.replace(r"\\'", r"\'"), encoding="utf-8")
    with subprocess.Popen([script, "-db", "-f", str(configuration)], stderr=subprocess.DEVNULL) as process:
        try:
            status, head, body = _asked(port)
        finally:
            process.terminate()
    assert status == 503 and head["Retry-After"] == "1"
    assert set(json.loads(body)["error"]) == {"rule", "observed", "remedy"}
    monkeypatch.setenv(ingress._BINARY, "/usr/sbin/haproxy")
    assert ingress.launcher(tmp_path) == {isolation.TOKEN: ""}, "what somebody set stays"


def _asked(port: int) -> tuple[int, Any, bytes]:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            connection.request("GET", "/predict")
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        except ConnectionRefusedError:
            time.sleep(0.05)
        finally:
            connection.close()
    raise AssertionError("nothing listens")
