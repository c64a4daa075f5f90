"""A script of a test that starts a Ray of its own, in a process of its own."""

import os
import subprocess
import sys

_UNSTARTED = "The current node timed out during startup"  # Ray gives its node 30 s, and a busy machine may not


def run(script: str, *arguments: object, seconds: float, **environment: str) -> subprocess.CompletedProcess[str]:
    """What it printed; begun again where Ray itself did not start, up to three times."""
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
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
        if _UNSTARTED not in ran.stderr:
            break
    return ran
