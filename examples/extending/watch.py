"""A watch of one's own: how often the model's answer is one particular class.

watches:                      # in the steward's policy
  examples.extending.watch: {label: high, most: 0.7, alpha: 0.01}
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

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


class Frequent:
    labelled = False  # fed as soon as a period is over, not when its labels are in
    canary = True  # fed all traffic, not only what the watched version answered

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._answers, self._hits, self._log_e = 0, 0, 0.0

    def take(self, rows: pl.DataFrame) -> None:
        self._answers += rows.height
        self._hits += int((rows["label"] == self._settings.label).sum())

    def close(self, begin: datetime, end: datetime) -> Sequence[Reading]:
        """Multiplies a bet that pays where the share lies above `most`: an e-process, valid whenever one looks."""
        most = self._settings.most
        bet = 0.5 / (1 - most)  # each hit pays 1 + bet × (1 − most), every other answer 1 − bet × most
        stake = min(bet, 0.5 / most)
        self._log_e += self._hits * math.log1p(stake * (1 - most))
        self._log_e += (self._answers - self._hits) * math.log1p(-stake * most)
        share = self._hits / self._answers if self._answers else 0.0
        self._answers, self._hits = 0, 0
        return [
            Reading(
                check="frequent",
                subject=self._settings.label,
                severity=Severity.ADVICE,
                says=f"{share:.1%} of the period's answers are {self._settings.label!r}; at most {most:.1%} may be.",
                remedy="compare recent inputs with the reference profile: tidemill drift",
                log_e=self._log_e,
                log_threshold=-math.log(self._settings.alpha),
                effect=share,
                unit="share of answers",
            )
        ]

    def state(self) -> dict[str, Any]:
        return {"answers": self._answers, "hits": self._hits, "log_e": self._log_e}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._answers, self._hits, self._log_e = state["answers"], state["hits"], state["log_e"]


def build(settings: Settings, watched: Watched) -> Watch:
    return Frequent(settings)
