"""A watch of one's own: how often the model's answer is one particular class.

watches:                      # in the steward's policy
  examples.extending.watch: {label: high, most: 0.7, alpha: 0.01}
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import polars as pl

from tidemill.settings.rules import Share
from tidemill.steward.watch import Reading, Severity, Watch, Watched


@dataclass(kw_only=True, slots=True)
class Settings:
    label: str
    most: Annotated[float, Share]
    """The largest share of answers that may be this class."""
    alpha: Annotated[float, Share]
    """Probability of ever raising an alarm where the share is at most `most`."""


@dataclass(kw_only=True, slots=True)
class State:
    """What the watch remembers; a steward that is started again gives it back."""

    answers: int = 0
    hits: int = 0
    log_e: float = 0.0


class Frequent:
    labelled = False  # fed as soon as a period is over, not when its labels are in
    canary = True  # fed all traffic, not only what the watched version answered

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.state = State()

    def take(self, rows: pl.DataFrame) -> None:
        self.state.answers += rows.height
        self.state.hits += int((rows["label"] == self._settings.label).sum())

    def close(self, begin: datetime, end: datetime) -> Sequence[Reading]:
        """Multiplies a bet that pays where the share lies above `most`: an e-process, valid whenever one looks."""
        most, state = self._settings.most, self.state
        bet = 0.5 / (1 - most)  # each hit pays 1 + bet × (1 − most), every other answer 1 − bet × most
        stake = min(bet, 0.5 / most)
        state.log_e += state.hits * math.log1p(stake * (1 - most))
        state.log_e += (state.answers - state.hits) * math.log1p(-stake * most)
        share = state.hits / state.answers if state.answers else 0.0
        state.answers, state.hits = 0, 0
        return [
            Reading(
                check="frequent",
                subject=self._settings.label,
                severity=Severity.ADVICE,
                says=f"{share:.1%} of the period's answers are {self._settings.label!r}; at most {most:.1%} may be.",
                remedy="compare recent inputs with the reference profile: tidemill drift",
                log_e=state.log_e,
                log_threshold=-math.log(self._settings.alpha),
                effect=share,
                unit="share of answers",
            )
        ]


def build(settings: Settings, watched: Watched) -> Watch:
    return Frequent(settings)
