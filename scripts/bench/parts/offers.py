"""The other side of swaps.py: a process that promotes versions one after the other and offers bad ones in between.

It runs apart from the load, so that neither waits for the other: it says that it is ready, begins at a line on its
standard input, and writes what it did when: one line of JSON each, with times of the monotonic clock, which all
processes share.
"""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from parts.load import request
from parts.servers import ask
from parts.small_model import NAME

from tidemill.bundle.registry.registry import Registry

REFUSALS = 8.0  # seconds that a refusal may take to be reported


class Careless(Registry):
    """A registry that lets a bundle be promoted which it would not let pass: somebody else wrote the files."""

    def verify(self, model: str, name: str) -> None:
        pass

    def _verify_once(self, model: str, version: str) -> None:
        pass


def swap(registry: Path, port: int, log: Path, count: int, pause: float, bad: dict[str, str], times: int) -> None:
    """`count` swaps between versions 1 and 2, by promotion and by rollback.

    bad: version → what is wrong with it; each is offered so many times.
    """
    good, careless = Registry(registry), Careless(registry)
    left = list(bad) * times
    every = max(1, count // (len(left) + 1)) if left else count + 1
    champion = "1"
    with log.open("w", buffering=1) as lines:
        for number in range(count):
            if number % every == every - 1 and left:
                version = left.pop(0)
                careless.promote(NAME, version, by="benchmark", reason="offered")
                _write(lines, kind="offer", version=version, what=bad[version])
                _write(lines, kind="answer", version=version, what=bad[version], told=_told(port, version))
                champion = good.rollback(NAME, by="benchmark", reason="taken back")
                _write(lines, kind="swap", version=champion)
            if number % 2:
                champion = good.rollback(NAME, by="benchmark", reason="back")
            else:
                champion = "2" if champion == "1" else "1"
                good.promote(NAME, champion, by="benchmark", reason="there")
            _write(lines, kind="swap", version=champion)
            time.sleep(pause)


def _told(port: int, version: str) -> str:
    """What the replica says about a version: why it was refused, or that it is held, or nothing in time."""
    end = time.monotonic() + REFUSALS
    while time.monotonic() < end:
        status, body = ask(port, request("/health", b"", method="GET"))
        rollout: dict[str, Any] = json.loads(body).get("rollout", {}) if status == 200 else {}
        for refusal in rollout.get("refused", []):
            if refusal["version"] == version:
                return str(refusal["error"])
        if version in rollout.get("versions", {}).values():
            return "held"
        time.sleep(0.1)
    return "nothing"


def _write(lines: Any, **content: str) -> None:
    lines.write(json.dumps({"at": time.perf_counter(), **content}) + "\n")


def spoil(registry: Path, version: str) -> None:
    """Change one byte of the graph."""
    path = registry / NAME / version / "model.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()  # it may be a link to another version's
    path.write_bytes(content)


def slow(folder: Path, source: Path, megabytes: int) -> Path:
    """A copy of a bundle whose graph takes long to read: it carries a large text."""
    import onnx

    from tidemill.bundle import checksums

    shutil.copytree(source, folder)
    graph = onnx.load(folder / "model.onnx")
    graph.metadata_props.add(key="ballast", value="x" * megabytes * 2**20)
    onnx.save(graph, folder / "model.onnx")
    checksums.write(folder)
    return folder


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print("ready", flush=True)  # starting Python takes a core for a second, which is no part of a swap
    sys.stdin.readline()
    given |= {name: Path(given[name]) for name in ("registry", "log")}
    swap(**given)
