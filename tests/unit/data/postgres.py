"""A real PostgreSQL server of Debian's packages in a temporary folder, for tests."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

PASSWORD = "p@ss:wörd/42"


def binaries() -> Path | None:
    """The newest installed server's folder of programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return found[-1].parent if found else None


@contextlib.contextmanager
def server() -> Iterator[int]:
    """Start a server with password log-in for user `tide`; yields its port. Only without CI may it be absent."""
    programs = binaries()
    if programs is None:
        message = "this test needs a PostgreSQL server: apt-get install postgresql"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    folder = Path(tempfile.mkdtemp(prefix="tidemill-pg-"))
    user = _unprivileged()
    password = folder / "password"
    password.write_text(PASSWORD)
    if user is not None:
        for path in (folder, password):
            shutil.chown(path, user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = str(folder / "data")
    how = {"user": user, "cwd": folder, "check": True, "stdout": subprocess.DEVNULL}
    initdb = [programs / "initdb", "-D", data, "-U", "tide", "-A", "scram-sha-256", f"--pwfile={password}", "-N"]
    try:
        subprocess.run([*initdb, "-E", "UTF8", "--locale=C"], **how)
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        control = [programs / "pg_ctl", "-D", data, "-w"]
        subprocess.run([*control, "-l", str(folder / "log"), "-o", options, "start"], **how)
        try:
            yield port
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **how)
    finally:
        shutil.rmtree(folder)


def _unprivileged() -> str | None:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
