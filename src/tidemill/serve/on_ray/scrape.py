"""All replicas' metrics in one scrape: behind a load balancer Prometheus reaches one of them, at random.

Each series gets the label `replica`, so that none hides another.
"""

import time
from collections.abc import Callable, Mapping

STALE = 15.0
"""Seconds after which a replica that has told nothing is left out."""


class Board:
    """Where replicas leave their metrics. Lives in a process of its own, see `collection`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: dict[str, tuple[float, bytes]] = {}

    def put(self, replica: str, text: bytes) -> None:
        self._left[replica] = self._clock(), text

    def exchange(self, replica: str, text: bytes) -> dict[str, bytes]:
        """Put, and get the texts of all replicas, but for the stale."""
        self.put(replica, text)
        oldest = self._clock() - STALE
        self._left = {name: left for name, left in self._left.items() if left[0] >= oldest}
        return {name: text for name, (_, text) in self._left.items()}


def merged(texts: Mapping[str, bytes]) -> bytes:
    """One text of several.

    Args:
        texts: by replica, what `Metrics.text` gave: a family's samples follow its HELP and TYPE.
    """
    families: dict[str, tuple[list[bytes], list[bytes]]] = {}
    for replica, text in sorted(texts.items()):
        label = b'replica="%s"' % _escaped(replica).encode()
        samples: list[bytes] = []
        for line in text.splitlines():
            if line.startswith(b"# HELP "):
                head, samples = families.setdefault(line.split(b" ", 3)[2].decode(), ([line], []))
            elif line.startswith(b"# TYPE "):
                if len(head) == 1:
                    head.append(line)
            elif line:
                samples.append(_labelled(line, label))
    lines = [line for head, samples in families.values() for line in (*head, *samples)]
    return b"\n".join(lines) + b"\n" if lines else b""


def _labelled(sample: bytes, label: bytes) -> bytes:
    """name{a="b"} 1 or name 1, with one label more. Names hold neither braces nor blanks."""
    name, blank, rest = sample.partition(b" ")
    before, brace, _ = name.partition(b"{")
    if brace:
        return before + b"{" + label + b"," + sample[len(before) + 1 :]
    return name + b"{" + label + b"}" + blank + rest


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
