"""Live counts against a reference that is a sample: evidence whose mean is at most 1 whatever the distribution."""

from itertools import product
from math import factorial

import numpy as np
import pytest

from reread import reread
from tidemill.errors import SettingsError
from tidemill.steward.evidence.histograms import HistogramEvidence, e_bh


def multinomials(rows: int, shares: list[float]) -> list[tuple[np.ndarray, float]]:
    """All counts of so many rows, each with its probability."""
    found = []
    for counts in product(range(rows + 1), repeat=len(shares)):
        if sum(counts) == rows:
            ways = factorial(rows) / np.prod([factorial(count) for count in counts])
            found.append((np.array(counts), ways * np.prod(np.power(shares, counts))))
    return found


@pytest.mark.parametrize("shares", [[0.5, 0.3, 0.2], [0.9, 0.05, 0.05], [0.4, 0.6]])
@pytest.mark.parametrize("ordered", [True, False])
def test_the_expected_evidence_of_a_look_is_at_most_1(shares: list[float], ordered: bool) -> None:
    total = np.zeros(1)
    for reference, often in multinomials(5, shares):
        for live, chance in multinomials(4, shares):
            total = total + often * chance * np.exp(HistogramEvidence(reference=reference, ordered=ordered).look(live))
    assert (total <= 1 + 1e-12).all() and (total > 0.8).all()


def test_looking_every_hour_is_wrong_at_most_as_often_as_stated() -> None:
    rng = np.random.default_rng(0)
    shares = np.array([0.3, 0.3, 0.2, 0.15, 0.05])
    alarms = 0
    for _ in range(150):
        evidence = HistogramEvidence(reference=rng.multinomial(500, shares), ordered=True, half=20)
        for live in rng.multinomial(100, shares, size=24):
            evidence.look(live)
        alarms += evidence.log_e >= np.log(10)
    assert alarms <= 0.1 * 150


def test_a_shift_is_found_where_it_is() -> None:
    evidence = HistogramEvidence(reference=[4000, 3000, 2000, 1000], ordered=False)
    evidence.look([400, 300, 200, 100])
    assert evidence.log_e < 0
    found = evidence.look([400, 300, 100, 200])
    assert sorted(np.argsort(found)[-2:].tolist()) == [2, 3]
    assert evidence.log_e > np.log(20)
    assert evidence.distance([400, 300, 100, 200]) == pytest.approx(0.1)


def test_a_small_shift_along_the_bins_shows_in_all_bins_up_to_one() -> None:
    live = [300, 250, 200, 150, 100]
    found = HistogramEvidence(reference=[2000] * 5, ordered=True).look(live)
    assert (
        len(found) == 5 + 3 and np.argmax(found) > 4
    )  # [first two], [first three], [first four] after the single bins
    assert len(HistogramEvidence(reference=[2000] * 5, ordered=False).look(live)) == 5


def test_looks_add_up_with_their_weights_and_never_fall_and_outlive_json() -> None:
    evidence = HistogramEvidence(reference=[50, 50], ordered=False, half=2)
    expected = 0.0
    for look, live in enumerate(([60, 40], [0, 0], [10, 30]), start=1):
        evidence = reread(evidence)
        expected += 2 / ((look + 1) * (look + 2)) * np.exp(evidence.look(live)).mean()
        assert np.exp(evidence.log_e) == pytest.approx(expected)
    assert evidence.distance([0, 0]) == 0.0


def test_e_bh_is_that_of_online_fdr() -> None:
    online_fdr = pytest.importorskip("online_fdr.e_values.batch")
    rng = np.random.default_rng(1)
    named = set()
    for _ in range(200):
        e_values = np.exp(rng.normal(2, 3, size=rng.integers(1, 12)))
        expected = online_fdr.e_bh(e_values.tolist(), 0.1)
        assert e_bh(np.log(e_values), 0.1).tolist() == expected
        named.add(sum(expected))
    assert len(named) > 4


def test_e_bh_by_hand() -> None:
    assert e_bh(np.log([80.0, 25.0, 1.0, 30.0]), 0.1).tolist() == [True, True, False, True]  # 3 · 25 / 4 ≥ 10
    assert e_bh(np.log([39.0, 1.0, 1.0, 1.0]), 0.1).tolist() == [False] * 4
    assert e_bh([], 0.1).tolist() == []


def test_counts_that_do_not_fit_are_refused() -> None:
    evidence = HistogramEvidence(reference=[5, 5], ordered=False)
    with pytest.raises(SettingsError, match=r"the reference's bins\. Got: \(3,\) and \(2,\)"):
        evidence.look([1, 2, 3])
    with pytest.raises(SettingsError, match=r"over two bins at least\. Got: \[1\.0, -2\.0\]"):
        evidence.look([1, -2])
    with pytest.raises(SettingsError, match="half is greater than 0"):
        HistogramEvidence(reference=[5, 5], ordered=False, half=0)
    with pytest.raises(SettingsError, match="alpha lies between"):
        e_bh([1.0], 2.0)
