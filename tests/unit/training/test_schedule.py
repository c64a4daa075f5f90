import pytest
from training_parts import settings

from tidemill.training.schedule import rate


def test_rises_linearly_then_falls_along_a_cosine_to_zero() -> None:
    chosen = settings(max_epochs=4, warmup_epochs=1.0, learning_rate=0.8)
    rates = [rate(step, 10, chosen) for step in range(40)]
    assert rates[:10] == pytest.approx([0.08 * (step + 1) for step in range(10)])
    assert rates[10] == 0.8
    assert rates[25] == pytest.approx(0.4)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.01


def test_without_cosine_it_stays_constant_after_the_warm_up() -> None:
    chosen = settings(warmup_epochs=0.0, cosine=False, learning_rate=0.3)
    assert {rate(step, 7, chosen) for step in range(21)} == {0.3}


def test_a_warm_up_longer_than_the_training_only_rises() -> None:
    chosen = settings(max_epochs=2, warmup_epochs=5.0, learning_rate=1.0)
    rates = [rate(step, 3, chosen) for step in range(6)]
    assert rates == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1])
