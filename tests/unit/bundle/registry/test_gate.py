import re
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tidemill.bundle.registry.gate import Contender, Verdict, bar, decide
from tidemill.data.target import Target
from tidemill.evaluation.comparison import compare
from tidemill.evaluation.results import Baseline
from tidemill.settings import GateSettings, Objective

VALUE = Target(name="price", objective=Objective.REGRESSION, classes=())
CLASS = Target(name="late", objective=Objective.BINARY, classes=("no", "yes"))
SETTINGS = GateSettings(margin=0.01, level=0.95)


def with_value(value: np.ndarray) -> Contender:
    return Contender(target=VALUE, answers={"value": value})


def trivial(ours: Contender, labels: np.ndarray) -> tuple[Baseline, ...]:
    mean = with_value(np.full(len(labels), labels.mean()))
    comparison = compare(ours.on(labels), mean.on(labels), level=0.95, seed=0)
    return (Baseline(name="trivial", metrics=(), comparison=comparison),)


def gate(new: Contender, champion: Contender | None, labels: np.ndarray, **changes: Any) -> Verdict:
    return decide(new, champion, labels, trivial(new, labels), replace(SETTINGS, **changes), seed=0)


@pytest.fixture
def labels() -> np.ndarray:
    return np.random.default_rng(0).normal(size=800)


def noisy(labels: np.ndarray, scale: float, seed: int) -> Contender:
    return with_value(labels + scale * np.random.default_rng(seed).normal(size=len(labels)))


def test_the_first_that_beats_the_trivial_baseline_is_champion(labels: np.ndarray) -> None:
    verdict = gate(noisy(labels, 0.5, 1), None, labels)
    assert verdict.passed
    assert verdict.reasons[0].startswith("It beats the trivial baseline: its squared error on 800 test rows is 0."), (
        verdict.reasons
    )
    assert "lower (95% interval of the difference: -0." in verdict.reasons[0]
    assert verdict.reasons[1] == "There was no champion before it."


def test_the_first_that_does_not_is_a_candidate(labels: np.ndarray) -> None:
    verdict = gate(noisy(labels, 1.0, 1), None, labels)
    assert not verdict.passed
    assert verdict.reasons[0].startswith("It does not beat the trivial baseline for certain: its squared error on 800")
    assert len(verdict.reasons) == 1


def test_what_makes_figures_untrustworthy_bars_a_champion(labels: np.ndarray) -> None:
    passed = gate(noisy(labels, 1.0, 1), None, labels)
    assert bar(passed, ()) == passed
    barred = bar(passed, ("40% of test stands in train",))
    assert not barred.passed
    assert barred.reasons[0] == "It may not become champion: 40% of test stands in train."
    assert barred.reasons[1:] == passed.reasons


def test_the_same_model_again_passes(labels: np.ndarray) -> None:
    champion = noisy(labels, 0.5, 1)
    assert gate(champion, champion, labels).passed
    assert gate(champion, champion, labels, margin=0.0).passed


def test_a_better_one_passes_and_says_by_how_much(labels: np.ndarray) -> None:
    verdict = gate(noisy(labels, 0.4, 2), noisy(labels, 0.6, 1), labels)
    assert verdict.passed
    assert verdict.comparison is not None and verdict.comparison.upper < 0
    assert verdict.reasons[0].startswith("It is no worse than the champion: its squared error on 800 test rows is 0.")
    assert verdict.reasons[1].startswith("It may be higher by at most 0.0")
    assert "1.00% of the champion's 0.3" in verdict.reasons[1]
    assert verdict.reasons[1].endswith("inside the margin at worst.")


def test_a_worse_one_is_refused_with_the_numbers(labels: np.ndarray) -> None:
    verdict = gate(noisy(labels, 0.6, 2), noisy(labels, 0.5, 1), labels)
    assert not verdict.passed
    assert verdict.reasons[0].startswith("It may be worse than the champion, which stays: its squared error")
    assert "higher (95% interval of the difference: 0." in verdict.reasons[0]
    assert verdict.reasons[1].endswith("outside the margin at worst.")


def test_too_few_rows_to_tell_is_refused() -> None:
    labels = np.random.default_rng(3).normal(size=12)
    assert not gate(noisy(labels, 0.5, 2), noisy(labels, 0.5, 1), labels).passed


def test_a_margin_lets_a_slightly_worse_one_pass(labels: np.ndarray) -> None:
    champion = noisy(labels, 0.5, 1)
    slightly = with_value(labels + 1.02 * (champion.answers["value"] - labels))
    assert not gate(slightly, champion, labels, margin=0.01).passed
    assert gate(slightly, champion, labels, margin=0.06).passed


def test_classification_goes_by_log_loss() -> None:
    labels = np.arange(200) % 2
    right = np.where(labels == 1, 0.8, 0.2)
    sure = Contender(target=CLASS, answers={"probabilities": np.stack([1 - right, right], axis=1)})
    even = Contender(target=CLASS, answers={"probabilities": np.full((200, 2), 0.5)})
    verdict = decide(sure, even, labels, (), SETTINGS, seed=0)
    assert verdict.passed
    assert "its log loss on 200 test rows" in verdict.reasons[0] and "champion's 0.693147" in verdict.reasons[1]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"name": "rent"}, r"target \(price\) differs from the champion's \(rent\)"),
        ({"classes": ("a", "b")}, r"classes \(\) differs from the champion's \(a, b\)"),
        ({"objective": Objective.BINARY}, r"objective \(regression\) differs from the champion's \(binary\)"),
    ],
)
def test_another_question_is_refused(labels: np.ndarray, changed: dict[str, Any], named: str) -> None:
    champion = Contender(target=replace(VALUE, **changed), answers={"value": labels})
    verdict = gate(noisy(labels, 0.1, 1), champion, labels)
    assert not verdict.passed and verdict.comparison is None
    assert len(verdict.reasons) == 1
    assert re.search(named, verdict.reasons[0])
    assert "promote it by hand" in verdict.reasons[0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_answers_that_are_no_numbers_are_refused(labels: np.ndarray, bad: float) -> None:
    broken = labels.copy()
    broken[:3] = bad
    fine = noisy(labels, 0.5, 1)
    new = decide(with_value(broken), fine, labels, (), SETTINGS, seed=0)
    assert new.reasons == ("The new bundle answers 3 of 800 test rows with NaN or infinity.",)
    old = decide(fine, with_value(broken), labels, (), SETTINGS, seed=0)
    assert old.reasons == ("The champion answers 3 of 800 test rows with NaN or infinity.",)
    assert not new.passed and not old.passed


@pytest.mark.parametrize("rows", [0, 1, 9])
def test_a_test_needs_rows(rows: int) -> None:
    new = with_value(np.zeros(rows))
    verdict = decide(new, None, np.zeros(rows), (), SETTINGS, seed=0)
    assert verdict.reasons == (f"A paired test needs at least 10 test rows, and there are {rows}.",)


def test_the_gate_does_without_torch() -> None:
    code = "import sys, tidemill.bundle.registry.gate; print('torch' in sys.modules, 'sklearn' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["False", "False"]


@pytest.mark.slow
@pytest.mark.parametrize("rows", [50, 300])
def test_a_model_worse_by_the_margin_passes_as_rarely_as_the_level_says(rows: int) -> None:
    """At the edge of the margin, the share of wrong passes must be near 1 − level."""
    passed = 0
    settings = GateSettings(margin=0.05, level=0.9)
    for trial in range(400):
        rng = np.random.default_rng(trial)
        shared, own, theirs = rng.standard_normal((3, rows))
        labels = np.zeros(rows)
        champion = with_value(shared + 0.3 * theirs)  # mean squared error 1.09
        new = with_value(np.sqrt(1.05) * (shared + 0.3 * own))  # worse by exactly the margin
        passed += decide(new, champion, labels, (), settings, seed=trial).passed
    assert 0.06 < passed / 400 < 0.145
