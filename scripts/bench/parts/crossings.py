"""Streams whose truth is known, and where evidence about them first crosses its threshold."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import beta

from tidemill.steward.evidence.detectors import RiseDetector
from tidemill.steward.evidence.histograms import HistogramEvidence
from tidemill.steward.evidence.paired import DifferenceEvidence, Question, weighted_differences

ALPHA = 0.05
LENGTH = 10_000
CHUNK = 20  # streams at a time, at most: what they take fits a cache
Draw = Callable[[np.random.Generator, int], np.ndarray]  # generator, streams → values [streams, values]
Lag = Callable[[np.random.Generator, np.ndarray], np.ndarray]  # generator, values → lags in records, like values
Follow = Callable[[np.ndarray], tuple[np.ndarray, float]]  # values → log evidence [streams, values], its threshold


def crossing(path: np.ndarray, threshold: float) -> np.ndarray:
    """Place of each stream's first crossing, counted from 1; infinite where there is none."""
    hit = path >= threshold
    return np.where(hit.any(axis=1), hit.argmax(axis=1) + 1.0, np.inf)


def firsts(draw: Draw, follow: Follow, repetitions: int, seed: int = 0) -> np.ndarray:
    """First crossings of so many streams."""
    size = min(CHUNK, repetitions)
    chunks = range(-(-repetitions // size))
    found = [crossing(*follow(draw(np.random.default_rng([seed, number]), size))) for number in chunks]
    return np.concatenate(found)[:repetitions]


def rate_bounds(events: int, repetitions: int) -> tuple[float, float]:
    """Clopper & Pearson (1934), two-sided 95%."""
    low = beta.ppf(0.025, events, repetitions - events + 1) if events else 0.0
    high = beta.ppf(0.975, events + 1, repetitions - events) if events < repetitions else 1.0
    return float(low), float(high)


def bernoulli(*chances: float, length: int = LENGTH) -> Draw:
    """Values 0 and 1 in parts of equal length, each with its chance of 1."""
    chance = np.repeat(chances, length // len(chances))
    return lambda rng, streams: (rng.random((streams, length)) < chance).astype(float)


def smooth(rng: np.random.Generator, streams: int) -> np.ndarray:
    """Losses between 0 and 1, of mean 0.2."""
    return rng.beta(1, 4, (streams, LENGTH))


def shadow(better: float, worse: float, length: int = LENGTH) -> Draw:
    """Differences in 0-1 loss: −1 where only the challenger is right, 1 where only the champion is."""

    def draw(rng: np.random.Generator, streams: int) -> np.ndarray:
        drawn = rng.random((streams, length))
        return np.where(drawn < better, -1.0, np.where(drawn < better + worse, 1.0, 0.0))

    return draw


def split(champion: float, challenger: float, share: float, length: int = LENGTH) -> Draw:
    """Weighted differences of an A/B test, of the error rates of both, centred at the champion's."""

    def draw(rng: np.random.Generator, streams: int) -> np.ndarray:
        challenged = rng.random((streams, length)) < share
        losses = (rng.random((streams, length)) < np.where(challenged, challenger, champion)).astype(float)
        return weighted_differences(losses, challenged, share=share, centre=champion)

    return draw


def followed(first: Draw, then: Draw) -> Draw:
    """Streams of one kind, each continued by one of another."""
    return lambda rng, streams: np.concatenate([first(rng, streams), then(rng, streams)], axis=1)


def compared(question: Question, test: str, reach: float = 1.0) -> Follow:
    def follow(values: np.ndarray) -> tuple[np.ndarray, float]:
        evidence = DifferenceEvidence(question=question, reach=reach)
        return evidence.tests[test].update(values), -np.log(question.alpha)

    return follow


def staged(question: Question, test: str, *, first: int, reach: float) -> Follow:
    """The first differences in shadow; the rest in a canary of the reach, which carries the evidence on."""

    def follow(values: np.ndarray) -> tuple[np.ndarray, float]:
        stage = DifferenceEvidence(question=question)
        before = stage.tests[test].update(values[:, :first])
        after = stage.next_stage(question=question, reach=reach).tests[test].update(values[:, first:])
        return np.concatenate([before, after], axis=1), -np.log(question.alpha)

    return follow


def detected(**settings: Any) -> Follow:
    def follow(values: np.ndarray) -> tuple[np.ndarray, float]:
        detector = RiseDetector(**{"alpha": ALPHA, "within": LENGTH, **settings})
        return detector.update(values), detector.log_threshold

    return follow


def hours(rng: np.random.Generator, streams: int) -> np.ndarray:
    """Counts over 12 bins: a reference of 2,000 rows, then 720 hours of 100 rows [streams, 1 + 720, 12]."""
    shares = np.arange(1, 13) / 78
    reference = rng.multinomial(2_000, shares, size=(streams, 1))
    return np.concatenate([reference, rng.multinomial(100, shares, size=(streams, 720))], axis=1)


def looked_hourly(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Evidence of each column after each hour [streams, 720]."""
    paths = np.empty((values.shape[0], values.shape[1] - 1))
    for path, stream in zip(paths, values, strict=True):
        evidence = HistogramEvidence(reference=stream[0], ordered=True)
        for hour, live in enumerate(stream[1:]):
            evidence.look(live)
            path[hour] = evidence.log_e
    return paths, -np.log(ALPHA)


def alarm_times(draw: Draw, lag: Lag, follow: Follow, repetitions: int, *, wait: float = 0.0) -> np.ndarray:
    """Record at which the alarm comes, where the label of each record comes `lag` records after it.

    wait: labels are weighed in the order of their records, so many records later; 0 weighs them as they come.
    """
    found, size = [], min(CHUNK, repetitions)
    for number in range(-(-repetitions // size)):
        rng = np.random.default_rng([1, number])
        values = draw(rng, size)
        record = np.arange(1, values.shape[1] + 1)
        come = record + (np.full(values.shape, wait) if wait else lag(rng, values))
        order = np.argsort(come, axis=1, kind="stable")
        place = crossing(*follow(np.take_along_axis(values, order, axis=1)))
        times = np.take_along_axis(come, order, axis=1)
        at = np.minimum(place, values.shape[1]).astype(int) - 1
        found.append(np.where(np.isfinite(place), times[np.arange(size), at], np.inf))
    return np.concatenate(found)[:repetitions]
