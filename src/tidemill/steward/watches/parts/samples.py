"""A random sample of rows that pass by, each as likely as any other, the same however they come in parts.

A row's place in the stream, hashed, is its priority; the smallest are kept (bottom-k sampling: Cohen & Kaplan,
Summarizing data using bottom-k sketches, PODC 2007).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


@dataclass(kw_only=True, slots=True)
class Sample:
    """At most `size` rows of uint8 codes [rows, columns], in the order they came. seen: of how many."""

    size: int
    columns: int
    seen: int = 0
    codes: np.ndarray = field(init=False, default_factory=lambda: np.zeros((0, 0), dtype=np.uint8))
    priority: np.ndarray = field(init=False, default_factory=lambda: np.zeros(0, dtype=np.uint64))

    def __post_init__(self) -> None:
        if not self.seen:
            self.codes = np.zeros((0, self.columns), dtype=np.uint8)

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


def _mixed(places: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele, Lea & Flood, OOPSLA 2014): to different numbers, spread over all of them."""
    mixed = (places + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))
