"""A random sample of rows that pass by, each as likely as any other, the same however they come in parts.

A row's place in the stream, hashed, is its priority; the smallest are kept (bottom-k sampling: Cohen & Kaplan,
Summarizing data using bottom-k sketches, PODC 2007).
"""

import base64
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np


class Sample:
    """At most `size` rows of uint8 codes [rows, columns], in the order they came. seen: of how many."""

    def __init__(self, size: int, columns: int) -> None:
        self.size, self.seen = size, 0
        self.codes = np.zeros((0, columns), dtype=np.uint8)
        self.priority = np.zeros(0, dtype=np.uint64)

    def add(self, rows: int, codes_of: Callable[[np.ndarray], np.ndarray]) -> None:
        """The next rows of the stream. codes_of: codes of those chosen by their places among these rows."""
        priority = _mixed(np.arange(self.seen, self.seen + rows, dtype=np.uint64))
        self.seen += rows
        full = len(self.priority) == self.size
        places = np.flatnonzero(priority < self.priority.max()) if full else np.arange(rows)
        if len(places) > self.size:
            places = np.sort(places[np.argpartition(priority[places], self.size - 1)[: self.size]])
        if not len(places):
            return
        together = np.concatenate([self.priority, priority[places]])
        kept = np.sort(np.argpartition(together, self.size - 1)[: self.size]) if len(together) > self.size else ...
        self.codes = np.concatenate([self.codes, codes_of(places)])[kept]
        self.priority = together[kept]

    def shuffled(self) -> np.ndarray:
        """Codes of the sample, in no order: its first rows are a sample of it."""
        return self.codes[np.argsort(self.priority)]

    def state(self) -> dict[str, Any]:
        return {"seen": self.seen, "codes": packed(self.codes), "priority": self.priority.tolist()}

    def restore(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]
        self.codes = unpacked(state["codes"], self.codes.shape[1])
        self.priority = np.array(state["priority"], dtype=np.uint64)


def packed(codes: np.ndarray) -> str:
    """Codes as text that JSON holds."""
    return base64.b64encode(zlib.compress(np.ascontiguousarray(codes).tobytes())).decode()


def unpacked(text: str, columns: int) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(-1, columns)


def _mixed(places: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele, Lea & Flood, OOPSLA 2014): to different numbers, spread over all of them."""
    mixed = (places + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))
