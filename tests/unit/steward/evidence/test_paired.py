"""Two models compared: what each verdict takes, stages that carry evidence on, and weights without bias."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from reread import reread
from tidemill.errors import SettingsError
from tidemill.steward.evidence.paired import DifferenceEvidence, Question, Verdict, weighted_differences
from tidemill.steward.evidence.sequential import Plan
from tidemill.steward.snapshots import plain


def differences(better: float, worse: float, size: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """−1 where only the challenger was right, 1 where only the champion was."""
    drawn = np.random.default_rng(seed).random(size)
    return np.where(drawn < better, -1.0, np.where(drawn < better + worse, 1.0, 0.0))


@pytest.mark.parametrize(
    ("better", "worse", "question", "verdict"),
    [
        (0.08, 0.02, Question(), Verdict.BETTER),
        (0.02, 0.08, Question(), Verdict.WORSE),
        (0.05, 0.05, Question(), Verdict.UNDECIDED),
        (0.05, 0.05, Question(margin=0.05, superiority=False), Verdict.BETTER),
        (0.03, 0.05, Question(margin=0.05), Verdict.UNDECIDED),
        (0.05, 0.05, Question(gain=0.05), Verdict.FUTILE),
        (0.043, 0.057, Question(against=1e-6), Verdict.UNDECIDED),
    ],
)
@pytest.mark.parametrize("plan", [None, Plan(horizon=3000, looks=4)])
def test_what_is_shown_is_what_the_differences_show(
    better: float, worse: float, question: Question, verdict: Verdict, plan: Plan | None
) -> None:
    evidence = DifferenceEvidence(question=replace(question, plan=plan))
    for part in np.split(differences(better, worse, (3000,)), 10):
        evidence.update(part)
    assert [name for name in evidence.log_e if evidence.shows(name)] == [verdict] * (verdict is not Verdict.UNDECIDED)
    assert plain(reread(evidence)) == plain(evidence)


def test_alpha_is_shared_out_among_what_speaks_against() -> None:
    assert Question(alpha=0.1).alphas == {"better": 0.1, "worse": 0.1}
    assert Question(alpha=0.1, against=0.06, gain=0.1).alphas == {"better": 0.1, "worse": 0.03, "futile": 0.03}


def test_no_better_challenger_is_promoted_more_often_than_stated_nor_one_within_the_margin_rolled_back() -> None:
    slack = 2.6 * np.sqrt(0.09 / 500)
    no_better, within = (DifferenceEvidence(question=Question(alpha=0.1, margin=0.02)).tests for _ in range(2))
    no_better["better"].update(differences(0.04, 0.04, (500, 1500)))
    within["worse"].update(differences(0.03, 0.05, (500, 1500)))
    for test in (no_better["better"], within["worse"]):
        assert (test.highest >= np.log(10)).mean() <= 0.1 + slack


def test_stages_multiply_their_evidence() -> None:
    shadow = DifferenceEvidence(question=Question(gain=0.5))
    shadow.update(differences(0.06, 0.02, (300,)))
    canary = shadow.next_stage(question=shadow.question, reach=10.0)
    assert float(canary.tests["better"].log_e) == float(shadow.tests["better"].log_e)
    alone = DifferenceEvidence(question=Question(), reach=10.0)
    values = 10 * differences(0.06, 0.02, (300,), seed=1)
    alone.update(values)
    canary.update(values)
    for name, carried in (("better", float(shadow.tests["better"].log_e)), ("worse", 0.0)):
        assert float(canary.tests[name].log_e) == pytest.approx(carried + float(alone.tests[name].log_e))
    assert canary.count == 600
    assert plain(reread(canary)) == plain(canary)


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_weights_make_the_difference_without_bias_and_within_reach(share: float) -> None:
    losses = {True: [0.0, 0.3, 1.0], False: [0.2, 0.6, 0.9]}
    expected = 0.0
    for (challenged, chance), row in product([(True, share), (False, 1 - share)], range(3)):
        (value,) = weighted_differences(losses[challenged][row], challenged, share=share, centre=0.4)
        assert abs(value) <= 1 / min(share, 1 - share)
        expected += chance * value / 3
    assert expected == pytest.approx(np.mean(losses[True]) - np.mean(losses[False]))


def test_a_share_of_nothing_has_no_weight() -> None:
    for share in (0.0, 1.0):
        with pytest.raises(
            SettingsError, match=rf"Both models have a share of the traffic\. Got: a share of {share:g}"
        ):
            weighted_differences([0.5], [True], share=share)


def test_questions_that_mean_nothing_are_refused() -> None:
    with pytest.raises(SettingsError, match="The margin of non-inferiority is greater than 0"):
        Question(superiority=False)
    with pytest.raises(SettingsError, match=r"gain greater than 0\. Got: margin -0\.1, gain None"):
        Question(margin=-0.1)
    with pytest.raises(SettingsError, match=r"gain greater than 0\. Got: margin 0, gain 0"):
        Question(gain=0.0)
    with pytest.raises(SettingsError, match="reach is greater than 0"):
        DifferenceEvidence(question=Question(), reach=-1.0)
