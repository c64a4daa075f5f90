"""A script of a test that starts a Ray of its own, in a process of its own."""

import os
import subprocess
import sys

from tidemill.serve.on_ray import ingress

_UNSTARTED = "The current node timed out during startup"  # Ray gives its node 30 s, and a busy machine may not


def run(script: str, *arguments: object, seconds: float, **environment: str) -> subprocess.CompletedProcess[str]:
    """What it printed; begun again where Ray itself did not start, or ended the process, up to three times."""
    quiet = ingress.environment(haproxy=False)
    command = [sys.executable, "-c", script, *map(str, arguments)]
    for _ in range(3):
        ran = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            env={**os.environ, **quiet, **environment},
        )
        ended = ran.returncode == 1 and "Traceback" not in ran.stderr  # by Ray's core, where it loses its own processes
        if _UNSTARTED not in ran.stderr and not ended:
            break
    return ran
