import contextlib
import gc
import os
import signal
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayActorError
from serving_parts import Running, arguments, running

from small_bundle import Small
from tidemill.bundle.predictor import Predictor
from tidemill.bundle.registry.registry import Registry
from tidemill.errors import BundleError, RegistryError, SettingsError
from tidemill.serve.arguments import Arguments
from tidemill.serve.on_ray import first_answer, local, preflight, ray_start
from tidemill.serve.on_ray.local import Address


def test_a_replica_that_does_not_start_is_explained() -> None:
    said = []

    def run(*_: Any, **__: Any) -> None:
        raise RuntimeError("Deploying application tidemill failed: no memory")

    with pytest.raises(BundleError, match=r"Ray Serve starts the model.*no memory"):
        local._start(SimpleNamespace(run=run), Arguments(registry="r", model="m"), said.append)
    assert not said, "it would fail again"


def test_a_controller_that_dies_while_the_model_is_deployed_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    said, tries = [], []

    def run(*_: Any, **__: Any) -> None:
        tries.append(1)
        if len(tries) < 3:
            raise RayActorError()

    monkeypatch.setattr(ray_start, "PAUSE", 0.0)
    local._start(SimpleNamespace(run=run), Arguments(registry="r", model="m"), said.append)
    assert len(tries) == 3 and "RayActorError" in said[0]


def test_a_controller_that_does_not_answer_is_given_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def status() -> None:
        raise RayActorError()

    assert local._check_alive(SimpleNamespace(status=status), 0.0) == local._POLL
    with pytest.raises(BundleError, match=r"Got: UNHEALTHY: RayActorError"):
        local._check_alive(SimpleNamespace(status=status), local._PATIENCE)


def test_an_observer_of_the_current_folder_is_found_as_ray_finds_it(
    small_multiclass: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(tmp_path / "registry")
    registry.promote("small", registry.add("small", small_multiclass.folder), by="me", reason="first")
    text = "from tidemill.serve.hooks.observer import Observer\n\n\nclass Mine(Observer):\n    pass\n"
    (tmp_path / "observer_of_this_test.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", ".")])
    before = list(sys.path)
    preflight.check(arguments(registry.path, observers={"observer_of_this_test:Mine": {}}))
    assert sys.path == before
    with pytest.raises(SettingsError, match="An observer's module can be imported"):
        preflight.check(arguments(registry.path, observers={"no_such_observer:Mine": {}}))


def _serve(status: str) -> Any:
    application = SimpleNamespace(status=status, message="the replica ended")
    return SimpleNamespace(status=lambda: SimpleNamespace(applications={"tidemill": application}))


def test_a_server_that_cannot_be_deployed_ends_the_command() -> None:
    assert local._check_alive(_serve("RUNNING"), 0.0) == 0.0
    with pytest.raises(BundleError, match=r"goes on answering\. Got: DEPLOY_FAILED: the replica ended"):
        local._check_alive(_serve("DEPLOY_FAILED"), 0.0)


def test_a_replica_that_died_is_given_time_to_come_back() -> None:
    unhealthy = 0.0
    while unhealthy < local._PATIENCE:
        unhealthy = local._check_alive(_serve("UNHEALTHY"), unhealthy)
    assert local._check_alive(_serve("RUNNING"), unhealthy) == 0.0
    with pytest.raises(BundleError, match=r"goes on answering\. Got: UNHEALTHY: the replica ended"):
        local._check_alive(_serve("UNHEALTHY"), unhealthy)


@pytest.mark.parametrize(
    ("host", "shown"), [("0.0.0.0", "127.0.0.1"), ("::", "127.0.0.1"), ("::1", "[::1]"), ("example", "example")]
)
def test_the_address_it_prints_can_be_asked(host: str, shown: str) -> None:
    assert local._reachable(host) == shown


def test_what_the_first_answer_was_compared_with_is_let_go(
    small_multiclass: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(tmp_path / "registry")
    registry.promote("small", registry.add("small", small_multiclass.folder), by="me", reason="first")
    given, said, made, kept = arguments(registry.path), [], [], []

    def checked(*words: Any, check: Callable[..., Any] = first_answer.checked) -> Predictor:
        predictor = check(*words)
        made.append(weakref.ref(predictor))
        return predictor

    def status() -> Any:  # Ray's, asked while the server serves
        gc.collect()
        kept.extend(ref for ref in made if ref() is not None)
        os.kill(os.getpid(), signal.SIGTERM)
        return _serve("RUNNING").status()

    monkeypatch.setattr(first_answer, "checked", checked)
    _without_ray(monkeypatch, status)
    with running(given) as server:
        local.run(given, _at(server), until_checked=False, say=said.append)
    assert f"Serving small version 1 at {server.url}" in said[1] and len(made) == 1 and not kept


def test_an_unloaded_model_is_served_but_passes_no_check(
    small_multiclass: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(tmp_path / "registry")
    registry.promote("small", registry.add("small", small_multiclass.folder), by="me", reason="first")
    registry.set_serving("small", False, by="me", reason="a leak")
    given, said = arguments(registry.path), []

    def status() -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return _serve("RUNNING").status()

    _without_ray(monkeypatch, status)
    with running(given) as server:
        local.run(given, _at(server), until_checked=False, say=said.append)
        assert said[-2:] == ["\nCtrl-C stops.", "Draining …"] and "tidemill registry load small" in "".join(said)
        with pytest.raises(RegistryError, match=r"registry says so\. Got: small is unloaded\. Remedy: tidemill"):
            local.run(given, _at(server), until_checked=True, say=said.append)


def _at(server: Running) -> Address:
    return local.Address(host="127.0.0.1", port=server.port, grpc=None, haproxy=False)


def _without_ray(monkeypatch: pytest.MonkeyPatch, status: Callable[..., Any]) -> None:
    """Ray and its ports are left out; status: what Ray says while the server serves."""
    monkeypatch.setattr(local, "_POLL", 0.01)
    monkeypatch.setattr(local, "_check_port", lambda *_: None)
    ray = SimpleNamespace(run=lambda *_, **__: None, status=status, delete=lambda name: None)
    monkeypatch.setattr(local, "_ray", lambda *_: contextlib.nullcontext(ray))
