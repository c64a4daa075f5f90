"""Real performance as labels arrive: whether the loss rose, overall or on a slice, by how much and since when.

Guarantee: the probability that any of these checks ever gives a false alarm is at most `alpha`: half of it is spent on
the loss of all rows, the other half in equal parts on all slices that there may be (Bonferroni, which holds however
slices depend on each other). See detectors.py for what it assumes, and when it is void: labels that come the sooner
the larger the loss, and seasons, where a loss above the test split's is no false alarm but nothing new either.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import numpy as np
import polars as pl

from tidemill.settings.rules import AtLeastOne, NotNegative, Share
from tidemill.steward.evidence.detectors import RiseDetector
from tidemill.steward.evidence.rises import Look, Rise, microseconds, restored
from tidemill.steward.promise import figures, promised
from tidemill.steward.watch import Reading, Severity, Watched
from tidemill.steward.watches.parts.slicing import Cut, cut

CHECK = "performance"
_SHIFTED_MOST = 1 - 1e-6


class Baseline(StrEnum):
    """What the loss may not exceed: what the bundle's test split showed, where it has that figure, or its own past."""

    BUNDLE = "bundle"
    PAST = "past"


@dataclass(kw_only=True, slots=True)
class Settings:
    alpha: Annotated[float, Share]
    """Probability of a false alarm, ever, over all slices together."""
    baseline: Baseline
    tolerance: Annotated[float, NotNegative]
    """By which share of itself the bundle's loss may be exceeded."""
    half: Annotated[int, AtLeastOne]
    """Half of the alpha is spent on rises that begin among so many labelled rows; later ones are found little later."""
    burn_in: Annotated[int, AtLeastOne]
    """Labelled rows from which a baseline is estimated first, where the bundle has none."""
    slices: list[str]
    """Columns, each of which is cut into slices."""
    most: Annotated[int, AtLeastOne]
    """Slices of one categorical column, beside "other" and "missing"."""
    bins: Annotated[int, AtLeastOne]
    """Slices of one numeric column, of about as many rows each."""


class Performance:
    """See the module. Slices whose loss the bundle does not have are held to their own past."""

    labelled = True
    canary = False

    def __init__(self, settings: Settings, watched: Watched) -> None:
        self._settings, self._watched = settings, watched
        self._cuts = [
            cut(watched, column, most=settings.most, bins=settings.bins, key=f"watches.{CHECK}.slices")
            for column in settings.slices
        ]
        alpha = settings.alpha / 2 if self._cuts else settings.alpha
        self._overall = Rise(detector=self._detector(alpha), interval=settings.alpha)
        self._sliced: list[dict[str, Rise]] = [{} for _ in self._cuts]
        self._unknown = 0
        self._sum, self._rows = 0.0, 0

    def _detector(self, alpha: float, column: str = "", value: str = "") -> RiseDetector:
        ask = self._settings
        bound = None
        if ask.baseline is Baseline.BUNDLE:
            bound = promised(self._watched.losses, self._watched.manifest, column, value)
        return RiseDetector(
            alpha=alpha,
            within=ask.half,
            anytime=True,
            baseline=None if bound is None else min(bound * (1 + ask.tolerance), _SHIFTED_MOST),
            burn_in=ask.burn_in,
        )

    def take(self, rows: pl.DataFrame) -> None:
        if not rows.height:
            return
        losses, moments = self._watched.losses.of(rows), microseconds(rows["moment"])
        self._overall.update(losses, moments)
        self._sum, self._rows = self._sum + float(losses.sum()), self._rows + rows.height
        classes = self._watched.manifest.identity.classes
        if classes:
            self._unknown += int((~rows["true_label"].is_in(classes)).sum())
        for by, rises in zip(self._cuts, self._sliced, strict=True):
            for name, places in _places(by, rows):
                if name not in rises:
                    rises[name] = self._new(by, name)
                rises[name].update(losses[places], moments[places])

    def _new(self, by: Cut, name: str) -> Rise:
        alpha = self._settings.alpha / 2 / sum(each.most for each in self._cuts)
        return Rise(detector=self._detector(alpha, by.column, name))

    def close(self, begin: datetime, end: datetime) -> Sequence[Reading]:
        readings = [self._reading("", self._overall)]
        for by, rises in zip(self._cuts, self._sliced, strict=True):
            readings += [self._reading(f"{by.column}={name}", rises[name]) for name in by.names if name in rises]
        self._unknown = 0
        return readings

    def _reading(self, subject: str, rise: Rise) -> Reading:
        fixed = rise.detector.baseline is not None
        look = rise.close()
        losses = self._watched.losses
        now = look.mean_since if look.alarm else look.mean
        effect = losses.unscaled(now) - losses.unscaled(look.before)
        return Reading(
            check=CHECK,
            subject=subject,
            severity=Severity.HARM,
            says=self._says(subject, look, "what the bundle allows" if fixed else "before"),
            remedy="retrain with the labels that are in; drift and calibration may say what changed",
            log_e=look.log_e,
            log_threshold=look.log_threshold,
            effect=effect if look.alarm or look.rows else 0.0,
            unit=losses.name,
            since=look.since if look.alarm else None,
        )

    def _says(self, subject: str, look: Look, named: str) -> str:
        losses = self._watched.losses
        where = f" where {subject}" if subject else ""
        before = f"{losses.unscaled(look.before):.4g}"
        if look.alarm and look.since is not None:
            text = f"{losses.name}{where} rose to {losses.unscaled(look.mean_since):.4g} from {before} ({named})"
            text += f" about {look.since:%Y-%m-%d %H:%M} UTC"
        elif look.rows:
            low, high = losses.unscaled(look.low), losses.unscaled(look.high)
            interval = "" if subject else f" ({low:.4g} to {high:.4g})"
            text = f"{losses.name}{where} is {losses.unscaled(look.mean):.4g}{interval}, {named} {before}"
            text += f", {look.rows:,} rows"
        else:
            return f"no labels{where} in this period."
        unknown = self._unknown if not subject else 0
        return text + (f"; {unknown:,} labels are none of the model's classes." if unknown else ".")

    def standing(self) -> dict[str, Any]:
        """Live beside what was promised: the mean loss of all labelled rows so far, in its own units."""
        losses = self._watched.losses
        live = losses.unscaled(self._sum / self._rows) if self._rows else None
        return {"metric": losses.name, "rows": self._rows, "live": live, **figures(losses, self._watched.manifest)}

    def state(self) -> dict[str, Any]:
        return {
            "overall": self._overall.state(),
            "sum": self._sum,
            "rows": self._rows,
            "unknown": self._unknown,
            "sliced": [
                {
                    "values": by.values,
                    "free": by.free,
                    "rises": {name: rise.state() for name, rise in rises.items()},
                }
                for by, rises in zip(self._cuts, self._sliced, strict=True)
            ],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._overall = restored(state["overall"])
        self._unknown, self._sum, self._rows = state["unknown"], state["sum"], state["rows"]
        for index, (by, kept) in enumerate(zip(self._cuts, state["sliced"], strict=True)):
            by.values, by.free = list(kept["values"]), kept["free"]
            self._sliced[index] = {name: restored(rise) for name, rise in kept["rises"].items()}


def _places(by: Cut, rows: pl.DataFrame) -> Iterator[tuple[str, np.ndarray]]:
    """The rows of each slice that has any, in their order."""
    codes = by.codes(rows)
    order = np.argsort(codes, kind="stable")
    codes = codes[order]
    firsts = np.flatnonzero(np.diff(codes, prepend=codes[0] - 1))
    for first, places in zip(firsts, np.split(order, firsts[1:]), strict=True):
        if codes[first] >= 0:
            yield by.names[codes[first]], places


def build(settings: Settings, watched: Watched) -> Performance:
    return Performance(settings, watched)
