"""Which of two models is better is said in words, with both figures and the interval of their difference."""

from typing import Any

import pytest

from tidemill.evaluation.results import Baseline, Comparison, Standing
from tidemill.report.standing import advice, sentence


def baseline(name: str, metric: str = "auroc", **standing: Any) -> Baseline:
    compared = Comparison(loss="log_loss", difference=0.01, lower=-0.01, upper=0.03, level=0.95, rows=100)
    found = Standing(metric=metric, higher_is_better=metric != "rmse", **standing) if standing else None
    return Baseline(name=name, metrics=(), comparison=compared, standing=found)


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (
            baseline("boosting", ours=0.8296, theirs=0.84, lower=-0.0162, upper=-0.0044),
            "LightGBM is better than this model on this table: AUROC 0.8400 against 0.8296, difference +0.0104 "
            "(0.0044 to 0.0162).",
        ),
        (
            baseline("boosting", ours=0.84, theirs=0.8296, lower=0.0044, upper=0.0162),
            "This model is better than LightGBM on this table: AUROC 0.8400 against 0.8296, difference +0.0104 "
            "(0.0044 to 0.0162).",
        ),
        (
            baseline("linear", ours=0.84, theirs=0.83, lower=-0.01, upper=0.03),
            "This model is ahead of a linear model on this table, but not for certain: AUROC 0.840 against 0.830, "
            "difference +0.010 (−0.010 to 0.030).",
        ),
        (
            baseline("linear", ours=0.83, theirs=0.84, lower=-0.03, upper=0.01),
            "This model is behind a linear model on this table, but not for certain: AUROC 0.830 against 0.840, "
            "difference −0.010 (−0.030 to 0.010).",
        ),
        (
            baseline("boosting", "rmse", ours=0.5, theirs=0.4, lower=0.08, upper=0.12),
            "LightGBM is better than this model on this table: RMSE 0.400 against 0.500, difference −0.100 "
            "(−0.120 to −0.080).",
        ),
        (
            baseline("boosting", ours=0.5, theirs=0.5, lower=0.0, upper=0.0),
            "This model and LightGBM are alike on this table: AUROC 0.5 of both.",
        ),
        (
            baseline("boosting"),
            "This model is not clearly different from LightGBM in log loss: difference +0.010 (−0.010 to 0.030).",
        ),
    ],
)
def test_each_outcome_has_its_sentence(other: Baseline, text: str) -> None:
    assert sentence(other) == text


def test_advice_is_for_what_wins_and_for_a_trivial_answer_that_is_not_beaten() -> None:
    ahead = {"ours": 0.84, "theirs": 0.83, "lower": -0.01, "upper": 0.03}
    behind = {"ours": 0.83, "theirs": 0.84, "lower": -0.03, "upper": -0.01}
    told = advice([baseline("trivial", **ahead), baseline("linear", **ahead), baseline("boosting", **behind)])
    assert len(told) == 2
    assert (
        told[0].startswith("This model is ahead of always answering the same") and "What to do: the columns" in told[0]
    )
    assert told[1].startswith("LightGBM is better than this model") and "model=tabm" in told[1]
    won = {"ours": 0.84, "theirs": 0.83, "lower": 0.005, "upper": 0.015}
    assert advice([baseline(name, **won) for name in ("trivial", "linear", "boosting")]) == ()
