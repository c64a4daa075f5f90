"""Promises against what came: generated answers whose worth is known, and what is said of them."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tidemill.data.target import Target
from tidemill.replay.results import live_quality
from tidemill.replay.results.live_quality import Constant, Figure, LiveQuality
from tidemill.settings import Objective

BINARY = Target(name="y", objective=Objective.BINARY, classes=("stays", "cancels"))
NUMBER = Target(name="y", objective=Objective.REGRESSION, classes=())
DAYS = np.arange(4_000) // 40


def manifest(target: Target, *metrics: tuple[str, float, float | None, float | None]) -> Any:
    found = [dict(zip(("name", "value", "lower", "upper"), metric, strict=True)) for metric in metrics]
    identity = SimpleNamespace(objective=target.objective)
    return SimpleNamespace(identity=identity, results={"test": {"metrics": found}})


def live(skill: float, promised: float = 0.38, rate: float = 0.3) -> LiveQuality:
    """Answers with log odds of `skill` on the right side; the constant was fitted to a rate of 0.3."""
    random = np.random.default_rng(0)
    labels = (random.random(4_000) < rate).astype(np.int64)
    odds = np.log(0.3 / 0.7) + skill * (2 * labels - 1) + random.normal(0, 1, 4_000)
    positive = 1 / (1 + np.exp(-odds))
    told = manifest(BINARY, ("auroc", 0.883, 0.87, 0.9), ("log_loss", promised, promised - 0.02, promised + 0.02))
    answers = {"probabilities": np.stack([1 - positive, positive], axis=1)}
    constant = Constant(values=np.array([0.7, 0.3]))
    return live_quality.weighed("version 1", told, labels, answers, constant, DAYS)


def test_a_broken_promise_that_is_worse_than_a_constant_is_said_first() -> None:
    found = live(skill=-0.5)
    assert found.broken and found.trivial
    assert found.constant == pytest.approx(0.61, abs=0.02)
    kept, said = live_quality.verdict([found], "log_loss")
    assert not kept and len(said) == 2
    assert said[0].startswith("Live answers were worse than a constant answer for certain: Log loss 0.")
    assert "Worse than promised, version 1" in said[1] and "promised 0.380 (0.360 to 0.400)" in said[1]
    assert "instead of 0.883" in said[1], "the AUROC as well"


def test_one_that_is_better_than_a_constant_but_not_as_promised() -> None:
    found = live(skill=0.6)
    assert found.broken and not found.trivial
    kept, said = live_quality.verdict([found], "log_loss")
    assert not kept and len(said) == 1 and "Worse than promised" in said[0]


def test_a_promise_that_is_kept() -> None:
    found = live(skill=2.0)
    kept, said = live_quality.verdict([found], "log_loss")
    assert kept and said[0].startswith("Live answers were no worse than promised: Log loss 0.")
    assert "a constant answer 0.6" in said[0]
    near = live(skill=0.6, promised=live(skill=0.6).live.value - 0.02)
    assert not near.broken, "within the intervals"


def test_what_was_never_promised_is_not_broken() -> None:
    random = np.random.default_rng(1)
    labels = random.normal(0, 1, 400)
    told = manifest(NUMBER)
    found = live_quality.weighed("all", told, labels, {"value": labels * 0.5}, Constant.of(NUMBER, labels), DAYS[:400])
    assert found.promised is None and not found.broken and not found.trivial
    assert found.score == "r2" and found.live_score == pytest.approx(0.75, abs=0.01)
    assert live_quality.verdict([found], "squared_error") == (
        True, ["No version promised anything: its test split has no squared error with an interval."]
    )  # fmt: skip
    root = manifest(NUMBER, ("rmse", 0.5, 0.4, 0.6), ("r2", 0.7, 0.6, 0.8))
    squared = live_quality.weighed(
        "all", root, labels, {"value": labels * 0.5}, Constant.of(NUMBER, labels), DAYS[:400]
    )
    assert squared.promised == Figure(value=0.25, lower=pytest.approx(0.16), upper=pytest.approx(0.36))


def test_the_promise_of_all_is_the_mean_of_those_who_answered() -> None:
    one, two = live(skill=2.0), live(skill=2.0, promised=0.5)
    assert live_quality.mean([one, two]) == Figure(value=0.44, lower=pytest.approx(0.42), upper=pytest.approx(0.46))
    unknown = live_quality.weighed(
        "2", manifest(BINARY), np.array([0, 1]), {"probabilities": np.full((2, 2), 0.5)},
        Constant(values=np.array([0.5, 0.5])), np.array([0, 1]),
    )  # fmt: skip
    assert live_quality.mean([one, unknown]) is None


def test_a_class_that_has_become_more_frequent_is_named() -> None:
    constant = Constant.of(BINARY, np.repeat([0, 1], [70, 30]))
    (said,) = live_quality.shifted(constant, BINARY, np.repeat([0, 1], [50, 50]))
    assert "was 50.0 % of the live records, and 30.4 % of those that were learnt from" in said
    assert live_quality.shifted(constant, BINARY, np.repeat([0, 1], [69, 31])) == []
    assert live_quality.shifted(constant, NUMBER, np.zeros(3)) == []
    assert Constant.of(BINARY, np.zeros(9, np.int64)).values[1] > 0, "what was never seen is not impossible"
