"""Detectors of a rise: the sum over all starts by brute force, the stated rate by enumeration, and since when."""

from dataclasses import fields
from itertools import product

import numpy as np
import pytest

from reread import reread
from tidemill.errors import SettingsError
from tidemill.steward.evidence.detectors import RISES, RiseDetector
from tidemill.steward.evidence.limits import NOTHING


def brute_force(values: np.ndarray, detector: RiseDetector) -> float:
    """The statistic by its definition: over starts and alternatives, one likelihood over another."""
    burn = 0 if detector.baseline is not None else detector.burn_in
    live = values[burn:]
    before = np.concatenate([[0.0], np.cumsum(live)[:-1]])
    expected = (0.5 + values[:burn].sum() + before) / (burn + 1 + np.arange(len(live)))
    if detector.baseline is not None:
        expected = np.full(len(live), detector.baseline)
        null = np.prod(np.where(live == 1, expected, 1 - expected))
    else:
        null = max(
            np.prod(np.where(live == 1, mean, 1 - mean)) for mean in [live.mean(), *np.linspace(0.001, 0.999, 99)]
        )
    ratios = np.exp(RISES)[:, None]
    risen = ratios * expected / (1 - expected + ratios * expected)
    after = np.where(live == 1, risen, 1 - risen)
    steady = np.where(live == 1, expected, 1 - expected)
    h = detector.within
    bets = [
        np.prod(steady[:s]) * np.prod(after[:, s:], axis=1) * (h / ((s + h) * (s + 1 + h)) if detector.anytime else 1)
        for s in range(len(live))
    ]
    return float(np.sum(bets, axis=0).mean() / null)


CASES = [
    {},
    {"anytime": True},
    {"baseline": 0.3},
    {"baseline": 0.3, "anytime": True},
]


@pytest.mark.parametrize("case", CASES)
def test_the_statistic_is_that_over_all_starts_in_any_parts(case: dict) -> None:
    values = (np.random.default_rng(0).random(40) < 0.3).astype(float)
    make = {"alpha": 0.05, "within": 30, "burn_in": 5, **case}
    detector = RiseDetector(**make)
    path = detector.update(values)
    for length in (6, 17, 40):
        assert np.exp(path[length - 1]) == pytest.approx(brute_force(values[:length], detector))
    parts = RiseDetector(**make)
    stepped = [float(parts.update(value)[0]) for value in values[:12]]
    parts = reread(parts)
    stepped += parts.update(values[12:]).tolist()
    np.testing.assert_allclose(stepped, path)
    for each in fields(detector):
        found, expected = getattr(parts, each.name), getattr(detector, each.name)
        assert found is expected if expected is None else found == pytest.approx(expected), each.name
    if "baseline" not in case:
        assert (path[:5] == NOTHING).all()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("mean", [0.05, 0.3, 0.6])
def test_stopping_when_one_likes_finds_no_more_than_stated(case: dict, mean: float) -> None:
    """E of the statistic at any stopping time is at most what counts starts: enumerated for the alarm itself."""
    if "baseline" in case and mean > case["baseline"]:
        return
    values = np.array(list(product([0.0, 1.0], repeat=12)))
    chance = np.prod(np.where(values == 1, mean, 1 - mean), axis=1)
    detector = RiseDetector(alpha=0.25, within=10, burn_in=2, **case)
    path = detector.update(values)
    live = 10 if "baseline" not in case else 12
    stated = 0.25 if case.get("anytime") else 0.25 * live / 10
    assert chance @ (path >= detector.log_threshold).any(axis=1) <= stated
    for stop in (0.0, 0.5, 1.0, 2.0):  # stop where the statistic is first this large
        hit = path >= stop
        at = np.where(hit.any(axis=1), hit.argmax(axis=1), values.shape[1] - 1)
        value = np.exp(np.take_along_axis(path, at[:, None], axis=1)[:, 0])
        assert chance @ value <= (1 if case.get("anytime") else live) * (1 + 1e-9)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("mean", [0.05, 0.3])
def test_values_taken_together_find_no_more_than_stated_either(case: dict, mean: float) -> None:
    values = np.array(list(product([0.0, 1.0], repeat=12)))
    chance = np.prod(np.where(values == 1, mean, 1 - mean), axis=1)
    counts = np.array([1, 3, 2, 4, 2])
    sums = np.add.reduceat(values, np.cumsum(counts) - counts, axis=1)
    detector = RiseDetector(alpha=0.25, within=10, burn_in=2, **case)
    path = detector.update(sums, counts)
    live = 12 - (4 if "baseline" not in case else 0)  # an entry that is in the burn-in is so as a whole
    for stop in (-1.0, 0.0, 0.5, 1.0, 2.0):
        hit = path >= stop
        at = np.where(hit.any(axis=1), hit.argmax(axis=1), 4)
        assert chance @ np.exp(np.take_along_axis(path, at[:, None], axis=1)[:, 0]) <= (
            1 if case.get("anytime") else live
        ) * (1 + 1e-9)
    assert detector.count == 12 and set(detector.since.ravel().tolist()) <= {0, 1, 2, 5, 7, 11}


@pytest.mark.parametrize("case", CASES)
def test_values_taken_together_show_about_what_each_by_itself_does(case: dict) -> None:
    values = (np.random.default_rng(4).random(4000) < np.where(np.arange(4000) < 2000, 0.2, 0.35)).astype(float)
    fine, coarse = (RiseDetector(alpha=0.05, within=4000, **case) for _ in range(2))
    fine.update(values)
    coarse.update(values.reshape(-1, 20).sum(axis=1), 20)
    assert float(coarse.log_statistic) == pytest.approx(float(fine.log_statistic), rel=0.05)
    assert abs(int(coarse.began) - int(fine.began)) <= 40 and coarse.count == fine.count


def test_a_rise_is_found_and_its_beginning_named() -> None:
    chance = np.where(np.arange(4000) < 2000, 0.1, 0.2)
    values = (np.random.default_rng(1).random((60, 4000)) < chance).astype(float)
    detector = RiseDetector(alpha=0.05, within=4000)
    hit = detector.update(values) >= detector.log_threshold
    first = hit.argmax(axis=1) + 1
    assert hit.any(axis=1).all() and (first > 2000).mean() > 0.95
    assert np.median(first) - 2000 < 450
    assert np.median(np.abs(detector.began - 2000)) < 60
    assert detector.alarm.mean() > 0.9


def test_values_between_0_and_1_that_do_not_rise_raise_no_alarm() -> None:
    values = np.random.default_rng(2).beta(1, 4, (300, 2000))
    detector = RiseDetector(alpha=0.1, within=2000)
    assert (detector.update(values) >= detector.log_threshold).any(axis=1).mean() <= 0.1


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(SettingsError, match="The baseline lies between 0 and 1"):
        RiseDetector(alpha=0.05, within=100, baseline=0.0)
    with pytest.raises(SettingsError, match="within is greater than 0"):
        RiseDetector(alpha=0.05, within=0)
    with pytest.raises(SettingsError, match=r"Values lie in \[0, 1\]"):
        RiseDetector(alpha=0.05, within=100).update([2.0])
