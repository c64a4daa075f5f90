"""Calibration: whether what came true is as frequent as was answered, over all rows and where the answer was alike.

Each row gives a probability p and whether it came true, y: of the second class of two; of the class answered, of more;
of lying in its interval, for a regression. Against "given p and the past, y's chance lies within `tolerance` of p" one
bets, as in Arnold, Henzi & Ziegel, Sequentially valid tests for forecast calibration (Annals of Applied Statistics,
2023), that the log odds are off by some constant: e^(yδ) / (1 + p'(e^δ − 1)) with p' the end of the tolerance on
δ's side, averaged over δ. A bettor enters with each period, all together with a capital of 1 (detectors.py), so that
a model that was right for a year is not believed for another. P(any alarm is false, ever) ≤ `alpha`: half of it is
spent on all rows, the rest evenly on the bins. Void where labels come the sooner for one outcome (see betting.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated

import numpy as np
import polars as pl

from tidemill.settings import Objective
from tidemill.settings.rules import AtLeastOne, Share, ShareOrNone
from tidemill.steward.evidence.limits import NOTHING, log_mean
from tidemill.steward.evidence.sampling import Blocks
from tidemill.steward.losses import probabilities_of
from tidemill.steward.watch import Reading, Severity, Watched

CHECK = "calibration"
SHIFTS = np.array([-1.6, -0.8, -0.4, -0.2, 0.2, 0.4, 0.8, 1.6])
"""Log odds ratios of the alternatives; 0.2 moves a probability of .5 to .55."""
_SUMS = 3  # per stream: of y, of p, of 1


@dataclass(kw_only=True, slots=True)
class Settings:
    alpha: Annotated[float, Share]
    """Probability of a false alarm, ever, over all rows and all bins together."""
    tolerance: Annotated[float, ShareOrNone]
    """By how much a probability may be off."""
    bins: Annotated[int, AtLeastOne]
    """Of equal width, from 0 to 1."""
    half: Annotated[int, AtLeastOne]
    """Half of the alpha is spent on what goes wrong within so many periods."""


@dataclass(kw_only=True)
class State:
    """Streams: all rows, then each bin. All arrays start with them [S]; D are the shifts.

    sums, costs: of the present period [S, 3], [S, D]; ever: sums of all periods; periods: those with rows [S].
    total, peak, since: of the bets [S, D]. window, by_bin: sums since each likeliest beginning: a stream's own
    [S, D, 3], and for all rows those of the bins behind them [bins, D, 3].
    """

    bins: int
    blocks: Blocks = field(init=False, default_factory=Blocks)
    sums: np.ndarray = field(init=False)
    costs: np.ndarray = field(init=False)
    ever: np.ndarray = field(init=False)
    periods: np.ndarray = field(init=False)
    total: np.ndarray = field(init=False)
    peak: np.ndarray = field(init=False)
    since: np.ndarray = field(init=False)
    window: np.ndarray = field(init=False)
    by_bin: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        if hasattr(self, "sums"):  # restored
            return
        streams, shifts = 1 + self.bins, len(SHIFTS)
        self.sums, self.ever = np.zeros((2, streams, _SUMS))
        self.periods = np.zeros(streams)
        self.costs, self.since = np.zeros((2, streams, shifts))
        self.total, self.peak = np.full((2, streams, shifts), NOTHING)
        self.window, self.by_bin = np.zeros((streams, shifts, _SUMS)), np.zeros((self.bins, shifts, _SUMS))


class Calibration:
    labelled = True
    canary = False

    def __init__(self, settings: Settings, watched: Watched) -> None:
        self._settings, self._identity = settings, watched.manifest.identity
        calibration = watched.manifest.results.get("calibration") or {}
        self._coverage: float | None = calibration.get("coverage")
        self.state = State(bins=settings.bins)

    def take(self, rows: pl.DataFrame) -> None:
        for block in self.state.blocks.add(*self._pairs(rows)):
            self._add(*block)

    def _pairs(self, rows: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Probability of each row, and whether it came true; rows without a number are left out."""
        if self._identity.objective is Objective.REGRESSION:
            whole = rows.drop_nulls(["lower", "upper", "true_value"]) if self._coverage is not None else rows.clear()
            inside = whole["true_value"].is_between(whole["lower"], whole["upper"])
            return np.full(whole.height, self._coverage or 0.5), inside.to_numpy().astype(np.float64)
        binary = self._identity.objective is Objective.BINARY
        classes = self._identity.classes
        named = pl.repeat(classes[1], rows.height, dtype=pl.String, eager=True) if binary else rows["label"]
        answered = probabilities_of(rows, classes, named)
        came_true = (rows["true_label"] == named).fill_null(False).to_numpy().astype(np.float64)
        answers = rows["probabilities"].is_not_null().to_numpy()
        return np.clip(answered[answers], 0.0, 1.0), came_true[answers]

    def _add(self, answered: np.ndarray, came_true: np.ndarray) -> None:
        bins = np.minimum((answered * self._settings.bins).astype(np.int64), self._settings.bins - 1)
        ends = np.clip(answered[:, None] + self._settings.tolerance * np.sign(SHIFTS), 0.0, 1.0)
        values = np.column_stack([came_true, answered, np.ones(len(answered)), np.log1p(ends * np.expm1(SHIFTS))])
        by_bin = np.stack(
            [np.bincount(bins, weights=column, minlength=self._settings.bins) for column in values.T], axis=1
        )
        found = np.concatenate([by_bin.sum(axis=0, keepdims=True), by_bin])
        self.state.sums += found[:, :_SUMS]
        self.state.costs += found[:, _SUMS:]

    def close(self, begin: datetime, end: datetime) -> Sequence[Reading]:
        for block in self.state.blocks.rest():
            self._add(*block)
        there = self.state.sums[:, 2] > 0
        if there.any():
            self._bet(begin, there)
        found = [self._reading(int(stream)) for stream in np.flatnonzero(self.state.periods)]
        self.state.sums, self.state.costs = np.zeros_like(self.state.sums), np.zeros_like(self.state.costs)
        return found

    def _bet(self, begin: datetime, there: np.ndarray) -> None:
        """Lets a bettor enter in every stream that has rows, and all bet on them."""
        half = self._settings.half
        entry = np.log(half / ((self.state.periods + half) * (self.state.periods + 1 + half)))[:, None]
        gain = self.state.sums[:, :1] * SHIFTS - self.state.costs
        present = there[:, None]
        self.state.total = np.where(present, np.logaddexp(self.state.total, entry) + gain, self.state.total)
        newer = present & (entry >= self.state.peak)
        self.state.since = np.where(newer, begin.timestamp(), self.state.since)
        self.state.peak = np.where(present, np.maximum(self.state.peak, entry) + gain, self.state.peak)
        self.state.window = np.where(newer[..., None], 0.0, self.state.window) + self.state.sums[:, None]
        self.state.by_bin = np.where(newer[0][:, None], 0.0, self.state.by_bin) + self.state.sums[1:, None]
        self.state.ever += self.state.sums
        self.state.periods += there

    def _reading(self, stream: int) -> Reading:
        number = self._settings.bins
        threshold = float(-np.log(self._settings.alpha / 2 / (1 if stream == 0 else number)))
        log_e = max(float(log_mean(self.state.total[stream])), 0.0)
        best, alarm = int(np.argmax(self.state.peak[stream])), log_e >= threshold
        moment = datetime.fromtimestamp(self.state.since[stream, best], UTC)
        sums = self.state.window[stream, best] if alarm else self.state.ever[stream]
        true, answered = sums[:2] / sums[2]
        says = f"of {sums[2]:,.0f} rows answered with {answered:.3f} on average {true:.3f} came true"
        subject, effect = f"probability {(stream - 1) / number:.3g} to {stream / number:.3g}", float(true - answered)
        if stream == 0:
            parts = self.state.by_bin[:, best] if alarm else self.state.ever[1:]
            subject, effect = "", float(np.abs(parts[:, 0] - parts[:, 1]).sum() / parts[:, 2].sum())
            says += f"; expected calibration error {effect:.3f}"
        return Reading(
            check=CHECK,
            subject=subject,
            severity=Severity.ADVICE,
            says=says + (f", since about {moment:%Y-%m-%d %H:%M} UTC." if alarm else "."),
            remedy="take probabilities as a ranking only, until a version calibrated on recent labels is there",
            log_e=log_e,
            log_threshold=threshold,
            effect=effect,
            unit="expected calibration error" if stream == 0 else "truth minus probability",
            since=moment if alarm else None,
        )


build = Calibration
