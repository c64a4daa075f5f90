"""Some of the rows of a stream, evenly spread, at most so many: the same ones however the stream was cut in parts."""

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


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
        packed = {
            name: [array.dtype.str, list(array.shape), base64.b64encode(zlib.compress(array.tobytes())).decode()]
            for name, array in self.arrays.items()
        }
        return {"most": self.most, "seen": self.seen, "stride": self.stride, "arrays": packed}


def restored(state: Mapping[str, Any]) -> Thinned:
    """What `state` was taken of."""
    arrays = {
        name: np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=kind).reshape(shape)
        for name, (kind, shape, text) in state["arrays"].items()
    }
    return Thinned(**{**state, "arrays": arrays})
