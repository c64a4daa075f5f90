"""Service: how often requests are answered slowly, against what is allowed and against their own past; broken answers.

What is counted is in the ledger: each request once, by the latency of its first row, and each answer that is no number.
Requests that were refused or failed leave no answer: /metrics counts those. Checks:

    slow     share of requests over the limit, against the share that is allowed
    slower   the same share, against its own past: it rose
    broken   share of answers without a finite number, against the share that is allowed

Guarantee: each is wrong, ever, with probability at most alpha / 3 (detectors.py). Void where requests are slow
together by chance: a machine that pauses now and then makes runs of slow requests, which count as many; then raise the
allowed share over that of such a run, and take `slower` as a hint.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import numpy as np
import polars as pl

from tidemill.settings.rules import AtLeastOne, Positive, Share
from tidemill.steward.evidence.detectors import RiseDetector
from tidemill.steward.evidence.streams import RiseStream, microseconds
from tidemill.steward.losses import broken
from tidemill.steward.records import first_of_requests
from tidemill.steward.watch import Reading, Severity, Watched

_REMEDY = {
    "slow": "add replicas or cores (docs/serving.md), or shed load; the queue's length is in /metrics",
    "slower": "look what changed then: traffic, the version, the machine's other work",
    "broken": "roll back to the version before; look at the inputs of these answers",
}


@dataclass(kw_only=True, slots=True)
class Settings:
    alpha: Annotated[float, Share]
    """Probability of a false alarm, ever, over all three checks together."""
    slow_ms: Annotated[float, Positive]
    """A request that is answered later than this is slow."""
    slow_share: Annotated[float, Share]
    """Share of requests that may be slow."""
    broken_share: Annotated[float, Share]
    """Share of answers that may be no number."""
    half: Annotated[int, AtLeastOne]
    """Half of the alpha is spent on rises that begin among so many requests; later ones are found little later."""
    burn_in: Annotated[int, AtLeastOne]
    """Requests from which the share of slow ones is estimated first, for its own past."""


@dataclass(kw_only=True, slots=True)
class State:
    """last: the request of the latest row. streams: by check."""

    streams: dict[str, RiseStream]
    last: str | None = None


class Service:
    labelled = False
    canary = False

    def __init__(self, settings: Settings, watched: Watched) -> None:
        self._settings = settings
        baselines = {"slow": settings.slow_share, "slower": None, "broken": settings.broken_share}
        streams = {
            check: RiseStream(
                detector=RiseDetector(
                    alpha=settings.alpha / len(baselines),
                    within=settings.half,
                    anytime=True,
                    baseline=baseline,
                    burn_in=settings.burn_in,
                )
            )
            for check, baseline in baselines.items()
        }
        self.state = State(streams=streams)

    def take(self, rows: pl.DataFrame) -> None:
        first = first_of_requests(rows, self.state.last)
        self.state.last = rows["request"][-1]
        moments = microseconds(rows["moment"])
        slow = (rows["latency_us"].to_numpy() > 1000 * self._settings.slow_ms).astype(np.float64)
        for check in ("slow", "slower"):
            self.state.streams[check].update(slow[first], moments[first])
        self.state.streams["broken"].update(broken(rows), moments)

    def close(self, begin: datetime, end: datetime) -> Sequence[Reading]:
        return [self._reading(check, rise) for check, rise in self.state.streams.items()]

    def _reading(self, check: str, rise: RiseStream) -> Reading:
        look = rise.close()
        share = look.now
        what = "answers are no number" if check == "broken" else f"requests took over {self._settings.slow_ms:g} ms"
        against = "before" if check == "slower" else "allowed"
        since = f" since about {look.since:%Y-%m-%d %H:%M} UTC" if look.alarm and look.since else ""
        counted = f"{share:.2%} of {what}{since}, {against} {look.before:.2%}"
        quiet = not look.rows and not look.alarm
        return Reading(
            check=check,
            subject="",
            severity=Severity.ADVICE if check == "slower" else Severity.HARM,
            says="no requests in this period." if quiet else f"{counted}.",
            remedy=_REMEDY[check],
            log_e=look.log_e,
            log_threshold=look.log_threshold,
            effect=0.0 if quiet else share - look.before,
            unit="share of answers" if check == "broken" else "share of requests",
            since=look.since if look.alarm else None,
        )


build = Service
