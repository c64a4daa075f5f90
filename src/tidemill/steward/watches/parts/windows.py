"""Counts of the last days, hour by hour: as many of each hour of the day, so that a day's rhythm is no drift."""

from bisect import bisect_left
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

_HOUR = 3600
_DAY = 24 * _HOUR


@dataclass(kw_only=True, slots=True)
class Window:
    """Counts [cells] of every period of the last `days`; periods within one hour of the clock lie together.

    begins: of the parts, seconds since 1970; parts: their counts [parts, cells].
    """

    days: int
    cells: int
    begins: list[int] = field(default_factory=list)
    parts: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))

    def __post_init__(self) -> None:
        if not self.begins:
            self.parts = np.zeros((0, self.cells), dtype=np.int64)

    def add(self, begin: datetime, end: datetime, counts: np.ndarray) -> None:
        """Takes in one period and lets go of what is older than the window, seen from its end."""
        hour = int(begin.timestamp()) // _HOUR * _HOUR
        if self.begins and self.begins[-1] == hour:
            self.parts[-1] += counts
        else:
            self.begins.append(hour)
            self.parts = np.concatenate([self.parts, counts[None]])
        old = bisect_left(self.begins, end.timestamp() - self.days * _DAY)
        self.begins, self.parts = self.begins[old:], self.parts[old:]

    def whole_days(self, end: datetime, since: float) -> np.ndarray:
        """Parts of the last whole days up to the end of the last period, none from before `since` [parts, cells]."""
        first = max(since, self.begins[0] if self.begins else since)
        begin = end.timestamp() - (end.timestamp() - first) // _DAY * _DAY
        return self.parts[bisect_left(self.begins, begin) :]

    def latest(self, end: datetime, cells: slice, *, days: int, rows: int) -> np.ndarray:
        """Counts of the last parts that are so many days and hold so many rows; of the whole window, at most."""
        found = np.zeros(cells.stop - cells.start, dtype=np.int64)
        for begin, counts in zip(self.begins[::-1], self.parts[::-1, cells], strict=True):
            found = found + counts
            if end.timestamp() - begin >= days * _DAY and found.sum() >= rows:
                break
        return found
