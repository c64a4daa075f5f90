"""A script of a test that starts a Ray of its own, in a process of its own, beside whatever else the machine runs."""

import functools
import logging
import os
import subprocess
import sys
from typing import Any

from patience import PATIENCE
from tidemill.serve.on_ray import ingress, ray_start

_SLOW = {
    # Ray gives up processes that are silent for longer, as they may be where too much runs on the machine
    "RAY_health_check_timeout_ms": "60000",
    "RAY_health_check_failure_threshold": "20",
    "RAY_gcs_server_request_timeout_seconds": "300",
}
_ALONE = {"RAY_ADDRESS": "", "RAY_API_SERVER_ADDRESS": ""}  # they name another Ray, also to who asks for one of its own


def run(script: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """What it printed. It can import what its test can import, and `start` below."""
    given = {**os.environ, **ingress.environment(haproxy=False), **_SLOW, **_ALONE, **environment}
    given["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE, check=False, env=given)


def start(**options: Any) -> Any:
    """Start a small Ray for the calling script alone, and return what Ray says of it.

    Ray gives its node 30 seconds to start, and nothing can make them more; where that was too short, it is started
    again as `tidemill serve` starts it again. Nothing else that fails is tried again.
    """
    import ray
    from ray._private.parameter import RayParams

    # The agent that starts jobs listens where every other Ray's does, unless `ray start` is told otherwise.
    anywhere = functools.partialmethod(RayParams.__init__, dashboard_agent_listen_port=0)
    RayParams.__init__ = anywhere  # type: ignore[assignment]
    usual = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100 * 2**20}
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}

    def begin() -> Any:
        return ray.init(address="local", **{**usual, **quiet, **options})

    return ray_start.started("Ray starts", begin, ray.shutdown, print_error)


def print_error(text: str) -> None:
    print(text, file=sys.stderr)
