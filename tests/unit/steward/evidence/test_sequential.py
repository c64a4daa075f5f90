"""Group-sequential bounds against published tables and by simulation."""

import numpy as np
import pytest

from tidemill.errors import SettingsError
from tidemill.steward.evidence.sequential import Spending, spent, z_bounds

LOOKS = [0.2, 0.4, 0.6, 0.8, 1.0]


def test_bounds_are_the_published_ones() -> None:
    """As in the manuals of gsDesign and ldbounds: five even looks, one-sided 0.025."""
    found = z_bounds(LOOKS, alpha=0.025, spending=Spending.OBRIEN_FLEMING)
    assert found == pytest.approx([4.8769, 3.3569, 2.6803, 2.2898, 2.0310], abs=2e-4)
    found = z_bounds(LOOKS, alpha=0.025, spending=Spending.POCOCK)
    assert found == pytest.approx([2.4380, 2.4268, 2.4101, 2.3966, 2.3859], abs=2e-4)


@pytest.mark.parametrize("spending", list(Spending))
def test_one_look_is_a_fixed_test_and_earlier_looks_do_not_change_with_later_ones(spending: Spending) -> None:
    assert z_bounds([1.0], alpha=0.05, spending=spending) == pytest.approx([1.6449], abs=1e-4)
    assert spent(spending, 0.05, 1.0) == pytest.approx(0.05)
    looks = [0.1, 0.35, 0.5, 1.0]
    every = z_bounds(looks, alpha=0.05, spending=spending)
    assert z_bounds(looks[:2], alpha=0.05, spending=spending) == pytest.approx(every[:2])


def test_thirty_looks_together_cross_as_often_as_stated() -> None:
    steps = np.random.default_rng(0).normal(size=(20_000, 30)) / np.sqrt(30)
    shares = np.arange(1, 31) / 30
    z = np.cumsum(steps, axis=1) / np.sqrt(shares)
    for spending in Spending:
        crossed = (z >= z_bounds(shares.tolist(), alpha=0.05, spending=spending)).any(axis=1).mean()
        assert crossed == pytest.approx(0.05, abs=0.005)


@pytest.mark.parametrize("looks", [[0.5, 0.5], [0.0, 1.0], [0.5, 1.1]])
def test_looks_without_new_information_or_past_the_end_are_refused(looks: list[float]) -> None:
    with pytest.raises(
        SettingsError, match=r"Information rises from look to look, from above 0 to at most 1\. Got: \["
    ):
        z_bounds(looks, alpha=0.05, spending=Spending.POCOCK)


def test_alpha_is_a_share() -> None:
    with pytest.raises(SettingsError, match="alpha lies between 0 and 1"):
        z_bounds([1.0], alpha=1.5, spending=Spending.POCOCK)
