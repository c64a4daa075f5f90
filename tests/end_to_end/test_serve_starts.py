"""`tidemill serve` that does not start, checks itself, is asked from elsewhere, and ends."""

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from serve_parts import JSON, ROW, ask, begin, command, free_port, ledger, registry, server

from patience import PATIENCE
from tidemill import cli
from tidemill.bundle.registry.registry import Registry
from tidemill.ledger import tables
from tidemill.ledger.settings import LedgerSettings
from tidemill.ledger.shipper import Shipper

__all__ = ["ledger", "registry", "server"]

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]


def test_a_corrupt_bundle_ends_at_once(small_multiclass: Any, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    registry.promote("small", registry.add("small", small_multiclass.folder), by="me", reason="first")
    (tmp_path / "registry/small/1/model.onnx").write_bytes(b"")
    words = command(registry, free_port(), f"ledger.path={tmp_path / 'ledger'}")
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1 and "model.onnx" in done.stderr and "was altered" in done.stderr


def test_check_behind_rays_own_proxy_stops_after_the_verified_answer_which_is_nobodys(
    registry: Registry, tmp_path: Path
) -> None:
    words = command(registry, free_port(), "--plain-proxy", "--check", f"ledger.path={tmp_path / 'ledger'}")
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("Checked: the answer over HTTP is the bundle's own.\n") and not done.stderr
    settings = LedgerSettings(path=str(tmp_path / "ledger"))
    Shipper(settings, "small", settings.segments("small")).run()
    assert tables.answers(settings, "small").collect().is_empty()


def test_with_keys_other_interfaces_may_ask_and_a_term_lets_what_is_in_hand_end(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "keys.json")
    assert cli.main(["keys", "create", "--file", file, "--name", "app"]) == 0
    key = capsys.readouterr().out.strip()
    server = begin(registry, "--host", "0.0.0.0", f"keys={file}", f"ledger.path={tmp_path / 'ledger'}")
    ended = False
    try:
        assert "with a key of yours" in server.said and key not in server.said
        body = json.dumps({"rows": [ROW]}).encode()
        status, content = ask(server.url, "/predict", body, **{"Content-Type": JSON})
        assert status == 401 and "key" in json.loads(content)["error"]["rule"]
        authorized = {"Authorization": f"Bearer {key}", "Content-Type": JSON}
        assert ask(server.url, "/predict", body, **authorized)[0] == 200

        with socket.create_connection(("127.0.0.1", server.port)) as slow:
            head = f"POST /predict HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nContent-Length: {len(body)}\r\n\r\n"
            slow.sendall(head.encode() + body[:5])
            time.sleep(0.5)  # until it is in the replica's hands
            os.kill(server.process.pid, signal.SIGTERM)
            time.sleep(3.5)  # longer than the server looks away, and than Ray drains at least
            slow.sendall(body[5:])
            slow.settimeout(PATIENCE)
            answer = b""
            while b"predictions" not in answer:
                part = slow.recv(65_536)
                assert part, f"the connection was cut: {answer!r}"
                answer += part
            assert answer.startswith(b"HTTP/1.1 200")
        rest, _ = server.process.communicate(timeout=PATIENCE)
        ended = True
        assert server.process.returncode == 0 and rest.strip() == "Draining …", rest
    finally:
        if not ended:
            os.killpg(server.process.pid, signal.SIGKILL)
    found = tables.answers(LedgerSettings(path=str(tmp_path / "ledger")), "small").collect()
    assert found.height == 2, "both answers were shipped before the end"


def test_other_interfaces_without_keys_are_refused(registry: Registry) -> None:
    words = command(registry, free_port(), "--host", "0.0.0.0")
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1 and "0.0.0.0, and no keys" in done.stderr and "tidemill keys create" in done.stderr
