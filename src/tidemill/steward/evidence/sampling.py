"""A stream of rows in blocks of one size, or thinned to a bounded number of rows.

Both give the same rows however the stream was cut into parts when it came. Sums of floating-point numbers depend on how
they are cut, and decisions must not: the same records that are weighed again give the same evidence, to the last bit.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

BLOCK = 16_384


@dataclass(kw_only=True, slots=True)
class Blocks:
    """Rows that wait until a block of `BLOCK` rows is full, or the period is over.

    >>> import numpy as np
    >>> blocks = Blocks()
    >>> [len(values) for values, in blocks.add(np.arange(20_000))]
    [16384]
    >>> [len(values) for values, in blocks.rest()]
    [3616]

    Attributes:
        waiting: columns of numbers, each with the same number of rows.
    """

    waiting: list[np.ndarray] = field(default_factory=list)

    def add(self, *columns: np.ndarray) -> Iterator[list[np.ndarray]]:
        """Yield the blocks [columns][BLOCK] that are full with these rows; the caller must take all of them."""
        before = self.waiting or [column[:0] for column in columns]
        joined = [np.concatenate(pair) for pair in zip(before, columns, strict=True)]
        full = len(joined[0]) // BLOCK * BLOCK
        self.waiting = [column[full:] for column in joined]
        for first in range(0, full, BLOCK):
            yield [column[first : first + BLOCK] for column in joined]

    def rest(self) -> Iterator[list[np.ndarray]]:
        """Yield the rows that wait, where there are any, at the end of a period."""
        columns, self.waiting = self.waiting, []
        if columns and len(columns[0]):
            yield columns


@dataclass(kw_only=True, slots=True)
class Thinned:
    """At most `most` rows of a stream: every `stride`-th row; where these become too many, every second one of them.

    >>> import numpy as np
    >>> thinned = Thinned(most=4)
    >>> for part in (np.arange(5), np.arange(5, 11)):
    ...     thinned.add({"row": part[thinned.places(len(part))]})
    >>> thinned.arrays["row"].tolist(), thinned.stride
    ([0, 4, 8], 4)

    Attributes:
        seen: the number of rows of the stream so far.
        arrays: by name, one entry for each row that is kept, in order.
    """

    most: int
    seen: int = 0
    stride: int = 1
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    def places(self, number: int) -> np.ndarray:
        """Return which of so many rows that come next are kept [kept]; of those kept before, some may be dropped."""
        while -(-(self.seen + number) // self.stride) > self.most:
            self.stride *= 2
            self.arrays = {name: array[::2] for name, array in self.arrays.items()}
        places = np.arange(-self.seen % self.stride, number, self.stride)
        self.seen += number
        return places

    def add(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep these rows, which are those at the places that `places` has just returned."""
        self.arrays = {
            name: np.concatenate([self.arrays[name], new]) if name in self.arrays else new
            for name, new in arrays.items()
        }

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values()), ()))
