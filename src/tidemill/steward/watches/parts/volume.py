"""Evidence that periods bring fewer or more rows than like periods before them: than at this hour, on this weekday.

Of the period's rows, 2√(rows + 3/8) is compared with the mean of earlier periods in units of their spread; if all are
normal of one mean and spread, the difference is Student's t with known degrees of freedom, and independent of those
before it (Anscombe, 1948; recursive residuals: Brown, Durbin & Evans, JRSS B 1975). As a normal score (Wallace, Annals
of Mathematical Statistics 1959) it is what `Episodes` bet on.

Void where like periods are not alike: holidays, growth. What is new is learned, so that it stops being told.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from tidemill.moments import microseconds
from tidemill.steward.evidence.episodes import Episodes

_SHIFTS = np.array([2.0, 4.0, 8.0])
"""Alternatives, in deviations."""
_FEWEST = 20.0  # rows that are usual; of fewer, an empty period says little
_EVERYTHING = "all"
_WEEKS, _DAYS, _ALL = (4, 8), (7, 14), (5, 48)
"""How many like periods are enough, and how many are remembered."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Usual:
    """What is usual: so many rows, by the periods of a slot, which `what` names; enough only to tell silence."""

    rows: float
    slot: str
    what: str
    silence_only: bool


@dataclass(kw_only=True, slots=True)
class Volume:
    """Falls and rises of the number of rows; a fall to none is silence.

    ratio: a period counts as evidence that has so many times fewer or more rows than usual.
    silent: whether no rows have come since a period that usually has some.
    history: 2√(rows + 3/8) of earlier periods, the newest last, by weekday and hour, hour, and of all.
    """

    ratio: float
    episodes: Episodes
    silent: bool = False
    first: datetime | None = None
    history: dict[str, list[float]] = field(default_factory=dict)

    def update(self, begin: datetime, rows: int) -> tuple[np.ndarray, Usual | None]:
        """Log evidence of a fall and of a rise [2], and what had been usual; None: there is too little to say."""
        value = 2 * np.sqrt(rows + 3 / 8)
        self.first = self.first or begin
        usual, gains = self._usual(begin), np.zeros((2, len(_SHIFTS)))
        if usual is not None and usual.rows >= _FEWEST:
            score = _score(value, self.history[usual.slot])
            gains = np.outer([-score, score], _SHIFTS) - np.square(_SHIFTS) / 2
            if usual.silence_only and rows:
                gains = np.minimum(gains, 0)
            if rows * self.ratio > usual.rows:
                gains[0] = np.minimum(gains[0], 0)
            if rows < usual.rows * self.ratio:
                gains[1] = np.minimum(gains[1], 0)
        self.silent = rows == 0 and (self.silent or (usual is not None and usual.rows >= _FEWEST))
        if self.silent and self.episodes.alarmed.flat[0]:
            gains[0] = np.maximum(gains[0], 0)  # however long it lasts, silence does not become usual
        for slot, (_, most) in _slots(begin).items():
            self.history[slot] = [*self.history.get(slot, ()), float(value)][-most:]
        return self.episodes.update(gains, microseconds(begin)), usual

    def _usual(self, begin: datetime) -> Usual | None:
        names = (f"{begin:%A}s at {begin:%H:%M}", f"days at {begin:%H:%M}", "periods")
        for (slot, (enough, _)), what in zip(_slots(begin).items(), names, strict=True):
            like = self.history.get(slot, ())
            early = slot == _EVERYTHING and begin - (self.first or begin) < timedelta(days=1)
            if len(like) >= enough and not early:
                rows = max(float(np.mean(like)) ** 2 / 4 - 3 / 8, 0.0)
                what = f"the last {len(like)} {what}"
                return Usual(rows=rows, slot=slot, what=what, silence_only=slot == _EVERYTHING)
        return None


def _slots(begin: datetime) -> dict[str, tuple[int, int]]:
    """What a period is like: others of its weekday and hour, of its hour, all of them."""
    return {f"{begin.weekday()} {begin:%H:%M}": _WEEKS, f"{begin:%H:%M}": _DAYS, _EVERYTHING: _ALL}


def _score(value: float, like: Sequence[float]) -> float:
    """How far a value lies from the mean of earlier ones, as a normal score."""
    spread = max(float(np.std(like, ddof=1)), 1.0)  # that of counts by chance, at least
    freedom = len(like) - 1
    t = (value - np.mean(like)) / (spread * np.sqrt(1 + 1 / len(like)))
    size = (8 * freedom + 1) / (8 * freedom + 3) * np.sqrt(freedom * np.log1p(t**2 / freedom))
    return float(np.sign(t) * size)
