"""Confidence sequences against another implementation, in parts, and by how often they cover."""

import numpy as np
import pytest

from reread import reread
from tidemill.errors import SettingsError
from tidemill.steward.evidence.bounds import LargeSampleBounds, MeanBounds


def test_bounds_are_those_of_ville() -> None:
    ville = pytest.importorskip("ville")
    values = np.random.default_rng(0).beta(2, 5, 400)
    theirs = ville.EmpiricalBernsteinCS(bounds=(0, 1), alpha=0.1).fit(values)
    lower, upper = MeanBounds(alpha=0.1).update(values)
    np.testing.assert_allclose(np.maximum(lower, 0), theirs.lower_, atol=1e-9)
    np.testing.assert_allclose(np.minimum(upper, 1), theirs.upper_, atol=1e-9)


def test_large_sample_bounds_are_those_of_ville() -> None:
    ville = pytest.importorskip("ville")
    values = np.random.default_rng(1).exponential(size=20_000)
    theirs = ville.AsymptoticCS(alpha=0.05, t_opt=50, min_samples=2).fit(values)
    ours = LargeSampleBounds(alpha=0.05, tightest_at=50)
    ours.update(values)
    np.testing.assert_allclose(ours.interval(), (theirs.lower_[-1], theirs.upper_[-1]), rtol=1e-4)


def test_parts_and_json_are_the_whole() -> None:
    values = np.random.default_rng(2).random(50)
    whole, parts = MeanBounds(alpha=0.05), MeanBounds(alpha=0.05)
    lower, upper = whole.update(values)
    parts.update(values[0])
    parts.update([])
    parts = reread(parts)
    rest = parts.update(values[1:])
    np.testing.assert_allclose(rest, (lower[1:], upper[1:]))
    assert parts.count == 50 and (float(parts.lower), float(parts.upper)) == pytest.approx((lower[-1], upper[-1]))


def test_the_mean_is_covered_at_all_times() -> None:
    values = (np.random.default_rng(3).random((400, 2000)) < 0.1).astype(float)
    lower, upper = MeanBounds(alpha=0.1).update(values)
    missed = ((lower[:, -1] > 0.1) | (upper[:, -1] < 0.1)).mean()  # they only ever narrow
    assert missed <= 0.1
    assert np.median(upper[:, -1] - lower[:, -1]) < 0.06


def test_the_large_sample_mean_is_covered_from_some_hundred_values_on() -> None:
    values = np.random.default_rng(4).exponential(size=(200, 2000))
    missed = 0
    for stream in values:
        bounds = LargeSampleBounds(alpha=0.1, tightest_at=500)
        outside = False
        for start in range(0, 2000, 200):
            bounds.update(stream[start : start + 200])
            low, high = bounds.interval()
            outside |= not low <= 1.0 <= high
        missed += outside
    assert 0 < missed <= 20


def test_large_sample_bounds_are_the_same_in_parts() -> None:
    values = np.random.default_rng(5).normal(size=90)
    whole, parts = (LargeSampleBounds(alpha=0.05, tightest_at=50) for _ in range(2))
    assert whole.interval() == (-np.inf, np.inf)
    whole.update(values)
    for part in (values[:30], values[:0], values[30:]):
        parts = reread(parts)
        parts.update(part)
    assert parts.interval() == pytest.approx(whole.interval())


def test_what_no_interval_has_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"alpha lies between 0 and 1, both excluded\. Got: 0"):
        MeanBounds(alpha=0.0)
    with pytest.raises(SettingsError, match="tightest_at is greater than 0 and finite"):
        LargeSampleBounds(alpha=0.05, tightest_at=0)
    with pytest.raises(SettingsError, match=r"Got: nan"):
        LargeSampleBounds(alpha=0.05, tightest_at=9).update([0.0, np.nan])
