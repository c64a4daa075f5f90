"""What Ray raises when it starts: one line for a person, and further tries where it is a matter of time."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray.exceptions

from patience import PATIENCE
from tidemill.bundle.registry.registry import Registry
from tidemill.errors import BundleError, RegistryError
from tidemill.serve.on_ray import ingress, ray_start


class ActorDiedError(ray.exceptions.RayError):
    """Ray's own takes its text from a message of its protocol."""


DIED = ActorDiedError(
    "The actor died unexpectedly before finishing this task.\n\tclass_name: HAProxyManager\n\tactor_id: 09af\n"
    "\tpid: 77\n\tnamespace: serve\n\tip: 127.0.0.1\nThe actor is dead because it was killed by `ray.kill`."
)
TASK = ray.exceptions.RayError(
    '\x1b[36mray::HAProxyManager.ready()\x1b[39m (pid=7, ip=127.0.0.1)\n  File "haproxy.py", line 1224, in ready\n'
    "    raise RuntimeError(\nRuntimeError: HAProxy crashed during startup: no memory\n"
)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setattr(ray_start, "PAUSE", 0.0)
    return []


def starting(*errors: Any) -> Callable[..., Any]:
    """What fails with these, one after the other, and then starts."""
    left = list(errors)

    def start() -> str:
        if left:
            raise left.pop(0)
        return "started"

    return start


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            DIED,
            "ActorDiedError of HAProxyManager: The actor died unexpectedly before finishing this task. "
            "The actor is dead because it was killed by `ray.kill`.",
        ),
        (TASK, "RuntimeError: HAProxy crashed during startup: no memory"),
        (RuntimeError("The current node timed out\nduring startup."), "The current node timed out during startup."),
        (TimeoutError(), "TimeoutError: nothing more is said"),
        (RuntimeError("x" * 5000), "x" * 400 + " …"),
    ],
)
def test_an_error_of_rays_is_one_line(error: Any, line: str) -> None:
    assert ray_start.line(error) == line


@pytest.mark.parametrize(
    "error", [DIED, TASK, RuntimeError("timed out"), ConnectionError("none"), TimeoutError("late")]
)
def test_what_may_pass_is_tried_again_and_said(said: list[Any], error: Any) -> None:
    ended = []
    assert ray_start.started("Ray starts", starting(error, error), lambda: ended.append(1), said.append) == "started"
    assert len(ended) == 2, "what each failed try has left is removed"
    assert [line.partition("(")[0] for line in said] == ["Ray did not start "] * 2
    assert "Try 2 of 3 in 0 s" in said[0] and "Try 3 of 3" in said[1] and "\n" not in "".join(said)
    with pytest.raises(BundleError, match=r"(?s)Ray starts\. Got: .* \(3 tries\)\. Remedy: try again when") as caught:
        ray_start.started("Ray starts", starting(*[error] * 9), lambda: None, said.append)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [ValueError("no such option"), FileNotFoundError("haproxy")])
def test_what_stays_wrong_is_said_at_once(said: list[Any], error: Any) -> None:
    with pytest.raises(BundleError, match=r"Ray starts\. Got: .*(option|haproxy)\. Remedy: mend what it says"):
        ray_start.started("Ray starts", starting(error), lambda: None, said.append)
    assert not said


def test_our_own_errors_and_interrupts_pass_and_leave_nothing(said: list[Any], tmp_path: Path) -> None:
    ended = []
    with pytest.raises(RegistryError):
        ray_start.started("", lambda: Registry(tmp_path).resolve("m", "champion"), lambda: ended.append(1), said.append)
    with pytest.raises(KeyboardInterrupt):
        ray_start.started("", starting(KeyboardInterrupt()), lambda: ended.append(1), said.append)
    assert ended == [1, 1] and not said


def test_an_haproxy_that_outlived_its_actor_is_ended(tmp_path: Path) -> None:
    (tmp_path / "haproxy.cfg").touch()
    mine, other = (
        subprocess.Popen(["sh", "-c", "sleep 60; :", "haproxy", "-f", str(folder / "haproxy.cfg")])
        for folder in (tmp_path, tmp_path / "other")
    )
    try:
        ingress.end_left(tmp_path)
        assert mine.wait(PATIENCE) == -15
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
