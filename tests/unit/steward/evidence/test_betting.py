"""Evidence about a mean: a fair game by enumeration, the same in any parts, and right about as often as stated."""

from itertools import product

import numpy as np
import pytest

from reread import reread
from tidemill.errors import SettingsError
from tidemill.steward.evidence.betting import BETS, PURSES, MeanEvidence


def sequences(length: int) -> np.ndarray:
    """All sequences of 0 and 1 [2^length, length]."""
    return np.array(list(product([0.0, 1.0], repeat=length)))


@pytest.mark.parametrize(("mean", "rises"), [(0.1, True), (0.1, False), (0.7, True), (0.5, False)])
def test_under_the_null_the_expected_evidence_is_1_at_every_time(mean: float, rises: bool) -> None:
    values = sequences(7)
    chance = np.prod(np.where(values == 1, mean, 1 - mean), axis=1)
    path = MeanEvidence(mean=mean, rises=rises).update(values)
    np.testing.assert_allclose(chance @ np.exp(path), 1.0, rtol=1e-12)


@pytest.mark.parametrize("rises", [True, False])
def test_on_the_nulls_own_side_it_is_expected_to_fall(rises: bool) -> None:
    values, true = sequences(7), 0.2 if rises else 0.4
    chance = np.prod(np.where(values == 1, true, 1 - true), axis=1)
    expected = chance @ np.exp(MeanEvidence(mean=0.3, rises=rises).update(values))
    assert (np.diff(expected) < 0).all() and expected[0] < 1


def test_wealth_is_what_constant_bets_win_together() -> None:
    values = np.array([1.0, -0.5, 0.25])
    evidence = MeanEvidence(mean=-0.2, rises=True, low=-1.0, high=1.0)
    evidence.update(values)
    won = [np.prod(1 + bet / 0.8 * (values + 0.2)) for bet in BETS]
    assert float(evidence.log_e) == pytest.approx(np.log(np.dot(PURSES, won)))


def test_parts_one_at_a_time_or_merged_or_restored_from_json_are_the_whole() -> None:
    values = np.random.default_rng(0).random(60)
    whole = MeanEvidence(mean=0.4, rises=True)
    path = whole.update(values)
    single = MeanEvidence(mean=0.4, rises=True)
    stepped = [float(single.update(value)[0]) for value in values[:20]]
    single = reread(single)
    stepped += single.update(values[20:]).tolist()
    np.testing.assert_allclose(stepped, path)
    assert float(single.highest) == pytest.approx(max(path.max(), 0)) and single.count == 60


def test_what_was_once_enough_is_remembered() -> None:
    evidence = MeanEvidence(mean=0.5, rises=True)
    highest = float(evidence.update(np.ones(20)).max())
    evidence.update(np.zeros(20))
    assert float(evidence.log_e) < 1 < highest == float(evidence.highest)


def test_nothing_new_changes_nothing() -> None:
    evidence = MeanEvidence(mean=0.4, rises=True)
    assert evidence.update([]).shape == (0,)
    assert (float(evidence.log_e), evidence.count, float(evidence.highest)) == (pytest.approx(0.0), 0, 0.0)


def test_streams_side_by_side_are_streams_alone() -> None:
    values = np.random.default_rng(1).random((3, 40))
    together = MeanEvidence(mean=0.4, rises=False)
    path = together.update(values)
    for stream, expected in zip(values, path, strict=True):
        np.testing.assert_allclose(MeanEvidence(mean=0.4, rises=False).update(stream), expected)
    np.testing.assert_allclose(together.highest, np.maximum(path.max(axis=1), 0))


def test_looking_at_every_value_is_wrong_at_most_as_often_as_stated_and_finds_what_is_there() -> None:
    rng = np.random.default_rng(2)
    null = MeanEvidence(mean=0.2, rises=True)
    null.update((rng.random((500, 1500)) < 0.2).astype(float))
    assert (null.highest >= np.log(10)).mean() <= 0.1 + 2.6 * np.sqrt(0.09 / 500)
    other = MeanEvidence(mean=0.2, rises=True)
    other.update((rng.random((200, 1500)) < 0.27).astype(float))
    assert (other.highest >= np.log(20)).mean() > 0.95


def test_a_value_out_of_bounds_is_refused_and_nothing_changed() -> None:
    evidence = MeanEvidence(mean=0.5, rises=True)
    for wrong in (1.5, np.nan):
        with pytest.raises(SettingsError, match=rf"Values lie in \[0, 1\]\. Got: {wrong}"):
            evidence.update([0.5, wrong])
    assert evidence.count == 0


def test_a_mean_at_the_bounds_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"lies inside the bounds of the values\. Got: 1 in \[0, 1\]"):
        MeanEvidence(mean=1.0, rises=True)
