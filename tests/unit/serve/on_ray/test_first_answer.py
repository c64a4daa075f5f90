"""What `tidemill serve` asks the server that it has started: real replicas on the wire, and servers not ours."""

import json
import shlex
import socket
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from serving_parts import arguments, followed, running, varied

from real_servers import answering
from small_bundle import Small
from tidemill import cli
from tidemill.bundle.predictor import Predictor
from tidemill.bundle.registry.registry import Alias, Registry
from tidemill.bundle.registry.rollout import Mode
from tidemill.errors import BundleError
from tidemill.ledger.record import Role
from tidemill.serve.door import key_file
from tidemill.serve.on_ray import first_answer
from tidemill.serve.wire import protocol
from tidemill.serve.wire.request import Answer

WHY = {"by": "me", "reason": "test"}
HEALTH = b'{"status": "ok", "model": "small", "version": "1"}'


@pytest.fixture
def registry(small_multiclass: Small, tmp_path: Path) -> Registry:
    """Version 1 is champion; version 2 answers otherwise."""
    registry = Registry(tmp_path / "registry")
    registry.promote("small", registry.add("small", small_multiclass.folder), **WHY)
    registry.add("small", varied(small_multiclass.folder, tmp_path / "other", shift=3.0))
    return registry


def announce(given: Any, url: Any, predictor: Any) -> Any:
    said = []
    checked = first_answer.announce(url, given, predictor, said.append)
    return checked, "\n".join(said)


def test_the_copy_of_an_object_stores_bundle_is_removed_once_it_is_checked(
    small_multiclass: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(f"memory://{uuid.uuid4().hex}")
    registry.promote("small", registry.add("small", small_multiclass.folder), **WHY)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert first_answer.checked(arguments(registry.path), "champion").manifest.identity.version == "1"
    assert not list(tmp_path.iterdir())


def test_a_canary_is_not_asked_by_chance(registry: Registry) -> None:
    registry.promote("small", "2", Alias.CHALLENGER, **WHY)
    registry.set_rollout("small", Mode.CANARY, 0.99999, **WHY)
    given = arguments(registry.path)
    with running(given) as server:
        server.do(followed(server.replica))
        assert set(server.replica.service.versions) == {"champion", "challenger"}
        checked, said = announce(given, server.url, first_answer.checked(given, "champion"))
    assert "the bundle's own" in checked and "Serving small version 1 at" in said and "It answers:" in said


def test_a_promotion_during_the_start_is_followed(registry: Registry) -> None:
    given = arguments(registry.path)
    before = first_answer.checked(given, "champion")
    registry.promote("small", "2", **WHY)
    with running(given) as server:
        checked, said = announce(given, server.url, before)
    assert "the bundle's own" in checked and "Serving small version 2 at" in said


def test_a_promotion_between_two_questions_is_followed(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    given, seen = arguments(registry.path), []
    with running(given) as server:

        def health(url: str, ask: Callable[..., Any] = first_answer._health) -> dict[Any, Any]:
            found = ask(url)
            seen.append(found["version"])
            if len(seen) == 1:
                registry.promote("small", "2", **WHY)
                server.do(followed(server.replica))
            return found

        monkeypatch.setattr(first_answer, "_health", health)
        monkeypatch.setattr(first_answer, "_PAUSE", 0.0)
        _, said = announce(given, server.url, first_answer.checked(given, "champion"))
    assert seen == ["1", "2"] and "Serving small version 2 at" in said


@pytest.mark.parametrize("keys", [False, True])
def test_of_a_model_that_is_unloaded_it_says_how_to_load_it(registry: Registry, tmp_path: Path, keys: bool) -> None:
    file = tmp_path / "keys.json"
    if keys:
        key_file.create(file, "app", [key_file.Scope.PREDICT])
    given = arguments(registry.path, keys=file if keys else None)
    predictor = first_answer.checked(given, "champion")
    registry.set_serving("small", False, **WHY)
    with running(given) as server:
        checked, said = announce(given, server.url, predictor)
        assert checked is None and f"Ready at {server.url}, but small is unloaded" in said
        command = said.splitlines()[-1]
        assert command == f"tidemill registry load small --registry {registry.path}"
        assert cli.main(shlex.split(command)[1:]) == 0
        server.do(followed(server.replica))
        checked, said = announce(given, server.url, predictor)
    assert checked and "Serving small version 1 at" in said


@pytest.fixture
def other_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, ...]]:
    """A server at the address that is not ours: answers whatever it is told to. asked: how often."""
    told = {"health": (200, HEALTH), "predict": (200, b"{}"), "asked": 0}

    def answer(method: str, body: bytes) -> tuple[bytes | int, ...]:
        told["asked"] += 1
        return told["predict" if method == "POST" else "health"]

    monkeypatch.setattr(first_answer, "_PAUSE", 0.0)
    with answering(answer) as url:
        yield url, told


@pytest.mark.parametrize("status", [404, 503])
def test_a_server_that_never_answers_a_real_record_is_no_server(
    registry: Registry, other_server: tuple[Any, ...], status: int
) -> None:
    url, server = other_server
    given = arguments(registry.path)
    predictor = first_answer.checked(given, "champion")
    server["predict"] = (status, b"not yet")
    with pytest.raises(BundleError, match=rf"has started answers a real record.*{status}: not yet"):
        announce(given, url, predictor)
    assert server["asked"] == 2 * first_answer._TRIES
    server["health"] = (status, b"not yet")
    with pytest.raises(BundleError, match=rf"has started is ready.*{status}: not yet"):
        announce(given, url, predictor)


def test_what_cannot_pass_is_not_waited_for(registry: Registry, other_server: tuple[Any, ...]) -> None:
    url, server = other_server
    given = arguments(registry.path)
    server["predict"] = (500, b"broken")
    with pytest.raises(BundleError, match=r"has started answers a real record.*500: broken"):
        announce(given, url, first_answer.checked(given, "champion"))
    assert server["asked"] == 2


def test_a_server_with_keys_answers_nobody_without_one(
    registry: Registry, other_server: tuple[Any, ...], tmp_path: Path
) -> None:
    url, server = other_server
    given = arguments(registry.path, keys=tmp_path / "keys.json")
    predictor = first_answer.checked(given, "champion")
    for status in (200, 500):
        server["predict"] = (status, b"{}")
        with pytest.raises(BundleError, match=rf"with keys refuses who has none.*{status}"):
            announce(given, url, predictor)
    server["predict"] = (401, b"{}")
    checked, said = announce(given, url, predictor)
    assert "answers nobody without a key" in checked and "with a key of yours" in said


def test_only_the_bundles_own_answer_is_accepted(small: Small) -> None:
    predictor = Predictor(small.folder)
    rows = protocol.rows_of(predictor.golden.raw, predictor.columns, 1)
    first = {name: values[:1] for name, values in predictor.golden.answers.items()}
    answer = json.loads(protocol.encode("5f0c", Answer(first, predictor.manifest.identity, Role.CHAMPION)).body)
    first_answer._verify(answer, rows, predictor)
    (prediction,) = answer["predictions"]
    if small.target.classes:
        prediction["probabilities"] = dict.fromkeys(prediction["probabilities"], 0.5)
    else:
        prediction["value"] *= 2
    with pytest.raises(BundleError, match=r"over HTTP is the bundle's own.*instead of"):
        first_answer._verify(answer, rows, predictor)


def test_a_server_that_nobody_reaches_is_asked_again_and_then_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_answer, "_PAUSE", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(BundleError, match=r"is ready\. Got: 503: no answer: .*refused\. Remedy: see the server's log"):
        first_answer._health(f"http://127.0.0.1:{port}")
