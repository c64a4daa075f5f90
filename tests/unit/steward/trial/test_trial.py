"""Trials: who is shown to be better or worse, by pairs in shadow, by weights as canary, and after the change."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from served import HOUR, MODEL, NOW, Served
from trial_parts import BEGIN, feed, rules, served, trial

from reread import reread
from tidemill.steward.evidence.paired import Verdict
from tidemill.steward.policy import Clock, Unit
from tidemill.steward.records import Records, Span
from tidemill.steward.snapshots import plain
from tidemill.steward.trial.comparison import Stage

__all__ = ["served"]


def test_a_better_challenger_in_shadow_is_shown_by_pairs(served: Served) -> None:
    served.answer(BEGIN, 4000, shadow=("2", 0.3))
    one = feed(trial(), served)
    assert one.verdict() == (Verdict.BETTER, "")
    about = one.figures()
    assert about["records"] == 4000
    assert about["tried_loss"] < about["against_loss"]
    assert about["lower"] < about["difference"] < about["upper"] < 0
    assert about["difference"] == pytest.approx(about["tried_loss"] - about["against_loss"])


def test_records_without_a_label_or_without_a_shadow_do_not_count(served: Served) -> None:
    served.answer(BEGIN, 1000, shadow=("2", 0.3), labelled=0.5)
    served.answer(BEGIN + timedelta(hours=1), 1000)
    assert 400 < feed(trial(), served).taken < 600


def test_an_equal_one_stays_undecided_and_ends_as_inconclusive(served: Served) -> None:
    served.answer(BEGIN, 4000, shadow=("2", 0.2))
    assert feed(trial(), served).verdict()[0] is Verdict.UNDECIDED
    assert feed(trial(maximum=4000), served).verdict()[0] is Verdict.INCONCLUSIVE


def test_nothing_is_said_before_the_minimum(served: Served) -> None:
    served.answer(BEGIN, 1000, shadow=("2", 0.4))
    assert feed(trial(minimum=1001, maximum=2000), served).verdict()[0] is Verdict.UNDECIDED


def test_a_worse_one_is_shown_and_a_gain_that_is_not_there_is_futile(served: Served) -> None:
    served.answer(BEGIN, 4000, shadow=("2", 0.1))
    assert feed(trial(), served).verdict()[0] is Verdict.WORSE
    assert feed(trial(margin=0.3, gain=0.02), served).verdict()[0] is Verdict.FUTILE


def test_on_probation_the_new_champion_is_on_trial(served: Served) -> None:
    served.answer(BEGIN, 4000, champion=("1", 0.1), shadow=("2", 0.3))
    assert feed(trial(Stage.PROBATION), served).verdict()[0] is Verdict.WORSE
    served.answer(BEGIN + timedelta(hours=2), 20000, champion=("1", 0.4), shadow=("2", 0.1))
    assert feed(trial(Stage.PROBATION), served).verdict()[0] is Verdict.BETTER


def test_a_slow_canary_is_stopped(served: Served) -> None:
    served.answer(BEGIN, 2000, canary=("2", 0.4, 0.5), latency_us=900_000)
    verdict, guard = feed(trial(Stage.CANARY, 0.5), served).verdict()
    assert verdict is Verdict.WORSE
    assert "took over 500 ms" in guard


@pytest.mark.parametrize("stage", list(Stage))
def test_broken_answers_stop_it_whatever_they_lose(served: Served, stage: Stage) -> None:
    share = 0.5 if stage is Stage.CANARY else 0.0
    rows = served.answer(BEGIN, 500, canary=("2", 0.4, 0.5) if share else None, shadow=None if share else ("2", 0.4))
    nothing = pl.lit([float("nan")] * 2, dtype=pl.List(pl.Float32))
    tried = pl.col("version") == ("1" if stage is Stage.PROBATION else "2")
    rows = rows.with_columns(true_label=pl.lit("yes"), value=pl.lit(None, pl.Float32))
    other = rows.with_columns(version=pl.lit("2"), probabilities=nothing if not share else pl.col("probabilities"))
    rows = rows.with_columns(probabilities=pl.when(tried).then(nothing).otherwise("probabilities"))
    one = trial(stage, share)
    one.take(rows, other)
    assert one.verdict() == (Verdict.WORSE, "more than 0.10% of its answers have no finite number")
    one.state = reread(one.state)
    assert one.verdict()[0] is Verdict.WORSE


def test_where_a_period_is_one_a_storm_is_one_piece_of_evidence(served: Served) -> None:
    """A day that is good for one of two equal models, ten times as many records or not, shows nothing."""
    served.answer(BEGIN, 3000, champion=("1", 0.05), shadow=("2", 0.45))
    assert feed(trial(), served).verdict()[0] is Verdict.BETTER
    one = feed(trial(unit=Unit.PERIOD), served)
    one.close()
    assert one.verdict()[0] is Verdict.UNDECIDED
    assert (one.evidence.count, one.taken) == (1, 3000)
    assert one.evidence.reach == 0.05


@pytest.mark.slow
def test_periods_that_agree_are_evidence(served: Served) -> None:
    one = trial(unit=Unit.PERIOD)
    for hour in range(20):
        served.answer(BEGIN + hour * HOUR, 100, champion=("1", 0.1), shadow=("2", 0.4))
    records = Records(served.ledger, MODEL, Clock.ARRIVAL, None)
    for hour in range(20):
        begin = BEGIN + hour * HOUR
        for piece in records.labelled(Span(begin=begin, end=begin + HOUR, since=begin), NOW + timedelta(days=9)):
            one.take(piece, records.shadows(piece, "2"))
        one.close()
    assert one.verdict()[0] is Verdict.BETTER
    assert (one.evidence.count, one.taken) == (20, 2000)


@pytest.mark.parametrize("stage", list(Stage))
def test_a_trial_goes_on_from_its_state_as_if_it_had_never_stopped(served: Served, stage: Stage) -> None:
    share = 0.5 if stage is Stage.CANARY else 0.0
    canary = ("2", 0.3, 0.5) if stage is Stage.CANARY else None
    shadow = None if stage is Stage.CANARY else ("2", 0.3)
    served.answer(BEGIN, 500, shadow=shadow, canary=canary)
    whole = feed(trial(stage, share, slices=["city"]), served)
    other = trial(stage, share, slices=["city"])
    other.state = reread(whole.state)
    served.answer(BEGIN + HOUR, 500, shadow=shadow, canary=canary)
    feed(whole, served)
    assert plain(feed(other, served).state) == plain(whole.state)
    assert whole.taken == 1500
    assert whole.evidence.count == (1000 if stage is Stage.CANARY else 1500)


@pytest.mark.slow
def test_false_promotions_stay_under_alpha() -> None:
    """Equal models, looked at after every fifty records: of 100 trials few may ever be shown better."""
    random = np.random.default_rng(0)
    promoted = 0
    for _ in range(100):
        one = trial(alpha=0.1)
        differences = random.choice([-0.2, 0.2], 2000)
        for first in range(0, 2000, 50):
            one._count(differences[first : first + 50], (np.zeros(50), np.zeros(50)))
            one.close()
        promoted += one.verdict()[0] is Verdict.BETTER
    assert promoted <= 10


def test_all_that_may_stop_a_version_shares_one_alpha() -> None:
    for slices in ([], ["city"]):
        given = rules(slices=slices, alpha=0.04, gain=0.1, canary=[0.1, 0.5], probation=100)
        question = trial(slices=slices, alpha=0.04, gain=0.1).evidence.question
        against = sum(alpha for name, alpha in question.alphas.items() if name != "better")
        assert 4 * (against + sum(given.guards.values())) == pytest.approx(0.04)
        assert question.alphas["better"] == 0.04


def test_a_plan_says_nothing_between_its_looks_and_does_not_look_beyond_its_horizon(served: Served) -> None:
    served.answer(BEGIN, 1900, champion=("1", 0.05), shadow=("2", 0.45))
    planned = {"looks": 2, "maximum": 4000, "canary": []}
    one = feed(trial(**planned), served)
    assert one.verdict()[0] is Verdict.UNDECIDED
    assert feed(trial(), served).verdict()[0] is Verdict.BETTER
    served.answer(BEGIN + HOUR, 200, champion=("1", 0.05), shadow=("2", 0.45))
    whole = feed(trial(**planned), served)
    assert whole.verdict()[0] is Verdict.BETTER
    reading = next(one for one in whole.readings() if one.check == "trial better")
    assert reading.log_e >= reading.log_threshold


def test_means_cut_to_their_reach_must_say_what_the_plain_mean_says() -> None:
    """A little better on most days, and far worse on a few: worse on the whole."""
    one = trial(unit=Unit.PERIOD, reach=0.05)
    for day in range(200):
        differences = np.full(50, 0.9 if day % 20 == 19 else -0.03)
        one._count(differences, (np.maximum(differences, 0), np.maximum(-differences, 0)))
        one.close()
    assert one.evidence.shows("better") and not one.evidence.shows("worse")
    assert one.figures()["difference"] > 0
    assert one.verdict()[0] is Verdict.UNDECIDED
