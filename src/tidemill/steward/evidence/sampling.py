"""A stream of rows in blocks, or thinned: in both the same ones, however the stream was cut in parts when it came.

Sums of floating-point numbers depend on how they are cut, and what is decided must not.
"""

import base64
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

BLOCK = 16_384


@dataclass(kw_only=True, slots=True)
class Blocks:
    """Rows that wait until a block of them is full, or the period is over.

    Attributes:
        waiting: columns of numbers, of as many rows each.
    """

    waiting: list[np.ndarray] = field(default_factory=list)

    def add(self, *columns: np.ndarray) -> Iterator[list[np.ndarray]]:
        """The blocks that are full with these rows; all of them must be taken."""
        before = self.waiting or [column[:0] for column in columns]
        joined = [np.concatenate(pair) for pair in zip(before, columns, strict=True)]
        full = len(joined[0]) // BLOCK * BLOCK
        self.waiting = [column[full:] for column in joined]
        for first in range(0, full, BLOCK):
            yield [column[first : first + BLOCK] for column in joined]

    def rest(self) -> Iterator[list[np.ndarray]]:
        """What waits, if anything does; a period ends."""
        columns, self.waiting = self.waiting, []
        if columns and len(columns[0]):
            yield columns

    def state(self) -> list[Any]:
        """As JSON holds it: `Blocks(waiting=[unpacked(column) for column in state])`."""
        return [packed(column) for column in self.waiting]


def packed(array: np.ndarray) -> list[Any]:
    """An array as JSON holds it."""
    return [array.dtype.str, list(array.shape), base64.b64encode(zlib.compress(array.tobytes())).decode()]


def unpacked(kept: list[Any]) -> np.ndarray:
    """The inverse of `packed`."""
    kind, shape, text = kept
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=kind).reshape(shape)


@dataclass(kw_only=True, slots=True)
class Thinned:
    """Every `stride`-th row; where these became too many, every second of them, and so on.

    Attributes:
        seen: rows of the stream. arrays: by name, one entry for each row kept, in order.
    """

    most: int
    seen: int = 0
    stride: int = 1
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    def places(self, number: int) -> np.ndarray:
        """Which of so many rows that come next are kept; those kept before may become fewer."""
        while -(-(self.seen + number) // self.stride) > self.most:
            self.stride *= 2
            self.arrays = {name: array[::2] for name, array in self.arrays.items()}
        places = np.arange(-self.seen % self.stride, number, self.stride)
        self.seen += number
        return places

    def add(self, arrays: Mapping[str, np.ndarray]) -> None:
        """What is kept of the rows at the places that were just named."""
        self.arrays = {
            name: np.concatenate([self.arrays[name], new]) if name in self.arrays else new
            for name, new in arrays.items()
        }

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values()), ()))

    def state(self) -> dict[str, Any]:
        """As JSON holds it: `restored(state)`."""
        arrays = {name: packed(array) for name, array in self.arrays.items()}
        return {"most": self.most, "seen": self.seen, "stride": self.stride, "arrays": arrays}


def restored(state: Mapping[str, Any]) -> Thinned:
    """What `state` was taken of."""
    arrays = {name: unpacked(kept) for name, kept in state["arrays"].items()}
    return Thinned(**{**state, "arrays": arrays})
