"""Servers on one machine, apart: their ports, the token between HAProxy and replicas, and where modules come from."""

import asyncio
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from ray.serve._private import constants, grpc_util, haproxy_templates
from serving_parts import arguments, call, post, started

import real_servers
from patience import PATIENCE
from tidemill.bundle.registry.registry import Registry
from tidemill.errors import SettingsError
from tidemill.serve.door import isolation
from tidemill.serve.door.inference import servicer
from tidemill.serve.on_ray import ingress
from tidemill.serve.wire.inference import messages

NAMES = (*isolation._BESIDE, *isolation._RANGES)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is set, and what is reserved here is let go of at the end."""
    guards: list[socket.socket] = []
    monkeypatch.setattr(isolation, "_guards", guards)
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    yield
    for guard in guards:
        guard.close()


@pytest.fixture(scope="module")
def registry(small_multiclass: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    registry = Registry(tmp_path_factory.mktemp("registry"))
    registry.promote("small", registry.add("small", small_multiclass.folder), by="me", reason="first")
    return registry.path


def _block(found: dict[str, str]) -> set[int]:
    return {int(port) // isolation._BLOCK for port in found.values()}


def test_no_two_starts_are_given_the_same_ports(alone: None) -> None:
    script = f"from tidemill.serve.door import isolation; print(isolation.ports()[{NAMES[0]!r}], flush=True); input()"
    command = [sys.executable, "-c", script]
    others = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    try:
        theirs = {int(other.stdout.readline()) // isolation._BLOCK for other in others if other.stdout}
        ours = [isolation.ports() for _ in range(5)]
    finally:
        for other in others:
            other.communicate("\n", timeout=PATIENCE)
    blocks = [block for found in ours for block in _block(found)]
    assert len(blocks) == len({*blocks}) == 5 and len(theirs) == 3
    assert theirs.isdisjoint(blocks)
    for found in ours:
        ends = [int(found[name]) for name in isolation._RANGES]
        assert ends == sorted(ends) and len({*found.values()}) == len(NAMES)


def test_ports_that_are_taken_or_asked_for_are_left_out(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "_END", isolation._FIRST + 2 * isolation._BLOCK)
    wanted = isolation._FIRST + isolation._BLOCK + 7
    assert _block(isolation.ports((wanted,))) == {isolation._FIRST // isolation._BLOCK}
    with pytest.raises(SettingsError, match=r"ports of its own.*Got: none of these blocks is free"):
        isolation.ports((wanted,))
    monkeypatch.setenv(NAMES[0], "7")
    assert isolation.ports()[NAMES[0]] == "7", "what somebody set stays"
    for name in NAMES:
        monkeypatch.setenv(name, "8")
    assert {*isolation.ports().values()} == {"8"}, "and where all is set, no block is asked for"


def test_a_grpc_port_of_rays_is_bound_by_one_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray passes the option as text, which gRPC takes for on: two servers of one user had the same port."""
    monkeypatch.setattr(constants, "DEFAULT_GRPC_SERVER_OPTIONS", constants.DEFAULT_GRPC_SERVER_OPTIONS)

    async def main() -> None:
        ingress.middlewares()
        theirs = [("grpc.so_reuseport", "0")]
        first = grpc_util.gRPCGenericServer(lambda **_: None, extra_options=theirs)
        port = first.add_insecure_port("[::]:0")
        await first.start()
        second = grpc_util.gRPCGenericServer(lambda **_: None, extra_options=theirs)
        with pytest.raises(RuntimeError, match="Failed to bind"):
            second.add_insecure_port(f"[::]:{port}")
        await first.stop(None)

    asyncio.run(main())


def test_a_replica_answers_what_comes_by_its_own_haproxy_alone(registry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def rays(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 299, "headers": []})
        await send({"type": "http.response.body", "body": b"Ray's"})

    async def main() -> None:
        monkeypatch.setenv(isolation.TOKEN, "ours")
        door = ingress.Door(rays)
        async with started(arguments(registry)) as replica:
            for application in (replica.application, None):  # of a replica, and of Ray's proxy
                monkeypatch.setattr(ingress, "application", application)
                for headers in ((), ((isolation.HEADER, "theirs"),)):
                    for path in ("/health", "/predict", "/steward"):
                        got = await post(door, path, {"rows": [{"open": True}]}, headers=headers)
                        assert got.status == 421 and got.observed == "a request that does not"
                check = await call(door, "GET", "/-/healthz")
                assert check and check.status == 299, "HAProxy's own looks at health have no token"
            monkeypatch.setattr(ingress, "application", replica.application)
            got = await call(door, "GET", "/health", headers=((isolation.HEADER, "ours"),))
            assert got and got.status == 200
            await _asked_by_grpc(replica)

    asyncio.run(main())


async def _asked_by_grpc(replica: Any) -> None:
    async with real_servers.by_grpc(replica.backend) as channel:
        for rpc in ("ServerLive", "ModelStatistics", "RepositoryModelUnload"):
            ask = channel.unary_unary(f"/{servicer.SERVICE}/{rpc}")
            for metadata in ((), ((isolation.HEADER, "theirs"),)):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await ask(b"", metadata=metadata)
                assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        live = await channel.unary_unary(f"/{servicer.SERVICE}/ServerLive")(b"", metadata=((isolation.HEADER, "ours"),))
        assert messages.ServerLiveResponse.FromString(live).live


@pytest.mark.skipif(not ingress.has_haproxy(), reason="there is no HAProxy")
def test_haproxy_shows_replicas_the_token_in_place_of_what_clients_send(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ingress._BINARY, raising=False)
    template = Path(haproxy_templates.__file__).read_text(encoding="utf-8")
    assert len(re.findall(r"^frontend (?:http|grpc)_frontend$", template, re.MULTILINE)) == 2
    found = ingress.launcher(tmp_path)
    assert len(found[isolation.TOKEN]) == 64 and found[isolation.TOKEN] != ingress.launcher(tmp_path)[isolation.TOKEN]
    found = ingress.launcher(tmp_path)
    assert Path(found[ingress._BINARY]).stat().st_mode & 0o077 == 0
    configuration = tmp_path / "haproxy.cfg"
    configuration.write_text("frontend http_frontend\n    bind :1\nfrontend grpc_frontend\n    bind :2\n")
    subprocess.run([found[ingress._BINARY], "-v", "-f", str(configuration)], check=True, capture_output=True)
    lines = configuration.read_text(encoding="utf-8").splitlines()
    rule = f"http-request set-header {isolation.HEADER} {found[isolation.TOKEN]}"
    assert [lines[lines.index(f"frontend {name}_frontend") + 1].strip() for name in ("http", "grpc")] == [rule, rule]


def test_a_file_of_the_current_folder_stands_in_for_no_installed_module(tmp_path: Path) -> None:
    """Of the processes that begin with the command itself; workers of Ray's are asked in test_serve.py."""
    for name in ("msgspec", "polars", "selectors"):
        (tmp_path / f"{name}.py").write_text("open('was-run', 'w')", encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != isolation.SAFE_PATH}
    program = "import os, subprocess, sys; from tidemill import cli; sys.argv[1:] = ['keys', 'list', '--file', 'none'];"
    program += "cli.main(); subprocess.run([sys.executable, '-c', 'import selectors, msgspec, polars'], check=True)"
    command = [sys.executable, "-P", "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "was-run").exists()


def test_sockets_lie_where_their_paths_are_short_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """With TMPDIR=/tmp/bench-abcdefgh HAProxy's socket had too long a path, and with a longer one Ray's."""
    monkeypatch.setattr(tempfile, "tempdir", "/t")
    assert isolation.temporary_folder() == Path("/t")
    monkeypatch.setattr(tempfile, "tempdir", "/tmp/bench-abcdefgh")
    assert isolation.temporary_folder() == Path("/tmp")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(SettingsError, match=r"at most 11 bytes, or in /tmp.*bench-abcdefgh.*set TMPDIR to"):
        isolation.temporary_folder()


def test_rays_sessions_lie_where_nobody_else_can_enter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray makes its own folders with mode 0777, in /tmp."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(isolation, "_LONGEST", 1000)
    found = isolation.session_folder()
    assert isolation.session_folder() == found and found.parent.stat().st_mode & 0o777 == 0o700
    found.parent.chmod(0o755)
    with pytest.raises(SettingsError, match=r"this user's alone.*or open to others"):
        isolation.session_folder()
    found.parent.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    found.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingsError, match="somebody else's"):
        isolation.session_folder()
