"""Trials: who is shown to be better or worse, by pairs in shadow, by weights as canary, and after the change."""

import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from served import HOUR, MODEL, NOW, Served

from tidemill.bundle.manifest import Identity
from tidemill.settings import Objective
from tidemill.steward import losses, policy
from tidemill.steward.evidence.paired import Verdict, weighted_differences
from tidemill.steward.policy import Clock, Unit
from tidemill.steward.records import Records, Span
from tidemill.steward.trial.comparison import Comparison, Stage
from tidemill.steward.trial.trial import Trial

BEGIN = NOW - timedelta(hours=40)
IDENTITY = Identity(model=MODEL, version="1", created="", objective=Objective.BINARY, classes=["no", "yes"])


@pytest.fixture
def served(tmp_path):
    return Served(tmp_path)


def rules(**changes):
    given = policy.read(None).trial
    return replace(given, **{"minimum": 0, "gain": None, "margin": 0.0, **changes})


def trial(stage=Stage.SHADOW, share=0.0, carried=None, **changes):
    tried, other = ("1", "2") if stage is Stage.PROBATION else ("2", "1")
    comparison = Comparison(stage=stage, tried=tried, other=other, share=share)
    loss = losses.make(policy.read(None).losses, IDENTITY)
    return Trial.begin(rules(**changes), comparison, loss, carried)


def feed(one, served, version="2"):
    records = Records(served.ledger, MODEL, Clock.ARRIVAL, None)
    span = Span(begin=BEGIN, end=NOW, since=BEGIN)
    for piece in records.labelled(span, NOW + timedelta(days=9)):
        one.take(piece, records.shadows(piece, version))
    return one


def test_a_better_challenger_in_shadow_is_shown_by_pairs(served):
    served.answer(BEGIN, 4000, shadow=("2", 0.3))
    one = feed(trial(), served)
    assert one.verdict() == (Verdict.BETTER, "")
    about = one.figures()
    assert about["records"] == 4000
    assert about["tried_loss"] < about["against_loss"]
    assert about["lower"] < about["difference"] < about["upper"] < 0
    assert about["difference"] == pytest.approx(about["tried_loss"] - about["against_loss"])


def test_records_without_a_label_or_without_a_shadow_do_not_count(served):
    served.answer(BEGIN, 1000, shadow=("2", 0.3), labelled=0.5)
    served.answer(BEGIN + timedelta(hours=1), 1000)
    assert 400 < feed(trial(), served).taken < 600


def test_an_equal_one_stays_undecided_and_ends_as_inconclusive(served):
    served.answer(BEGIN, 4000, shadow=("2", 0.2))
    assert feed(trial(), served).verdict()[0] is Verdict.UNDECIDED
    assert feed(trial(maximum=4000), served).verdict()[0] is Verdict.INCONCLUSIVE


def test_nothing_is_said_before_the_minimum(served):
    served.answer(BEGIN, 1000, shadow=("2", 0.4))
    assert feed(trial(minimum=1001, maximum=2000), served).verdict()[0] is Verdict.UNDECIDED


def test_a_worse_one_is_shown_and_a_gain_that_is_not_there_is_futile(served):
    served.answer(BEGIN, 4000, shadow=("2", 0.1))
    assert feed(trial(), served).verdict()[0] is Verdict.WORSE
    assert feed(trial(margin=0.3, gain=0.02), served).verdict()[0] is Verdict.FUTILE


def test_on_probation_the_new_champion_is_on_trial(served):
    served.answer(BEGIN, 4000, champion=("1", 0.1), shadow=("2", 0.3))
    assert feed(trial(Stage.PROBATION), served).verdict()[0] is Verdict.WORSE
    served.answer(BEGIN + timedelta(hours=2), 20000, champion=("1", 0.4), shadow=("2", 0.1))
    assert feed(trial(Stage.PROBATION), served).verdict()[0] is Verdict.BETTER


def test_a_canary_is_weighed_by_its_share_and_carries_on(served):
    served.answer(BEGIN, 3000, shadow=("2", 0.4))
    shadow = feed(trial(), served)
    carried = json.loads(json.dumps(shadow.state()))
    canary = trial(Stage.CANARY, 0.3, carried)
    assert canary.verdict()[0] is Verdict.BETTER, "what was shown stays shown"
    assert canary.records == 3000
    served.answer(BEGIN + timedelta(hours=3), 6000, canary=("2", 0.4, 0.3))
    fed = feed(canary, served)
    assert fed.taken == 6000
    assert 0.25 < fed.met[0] / 6000 < 0.35
    assert fed.figures()["difference"] < 0
    assert float(fed.evidence.tests["better"].log_e) > float(shadow.evidence.tests["better"].log_e)


def test_records_of_one_key_are_one_toss(served):
    keys = pl.Series("id", [f"person {i // 10}" for i in range(3000)])
    served.answer(BEGIN, 3000, canary=("2", 0.4, 0.5), **{"id": keys})
    one = feed(trial(Stage.CANARY, 0.5), served)
    assert (one.evidence.count, one.taken) == (300, 3000)


def test_pinned_requests_are_no_tosses(served):
    rows = served.answer(BEGIN, 100, canary=("2", 0.4, 0.5)).with_columns(
        propensity=pl.lit(1.0), true_label=pl.lit("yes")
    )
    one = trial(Stage.CANARY, 0.5)
    one.take(rows, rows.clear())
    assert one.taken == 0


def test_a_harmed_slice_stops_what_is_better_on_the_whole(served):
    city = pl.Series("city", ["Oslo"] * 600)
    served.answer(BEGIN, 600, champion=("1", 0.45), shadow=("2", 0.05), city=city)
    served.answer(
        BEGIN + timedelta(hours=1), 6000, champion=("1", 0.05), shadow=("2", 0.4), city=pl.Series(["Rome"] * 6000)
    )
    verdict, guard = feed(trial(slices=["city"]), served).verdict()
    assert verdict is Verdict.WORSE
    assert "city=Oslo" in guard
    assert feed(trial(), served).verdict() == (Verdict.BETTER, "")


def test_a_slow_canary_is_stopped(served):
    served.answer(BEGIN, 2000, canary=("2", 0.4, 0.5), latency_us=900_000)
    verdict, guard = feed(trial(Stage.CANARY, 0.5), served).verdict()
    assert verdict is Verdict.WORSE
    assert "took over 500 ms" in guard


@pytest.mark.parametrize("stage", list(Stage))
def test_broken_answers_stop_it_whatever_they_lose(served, stage):
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
    one.restore(json.loads(json.dumps(one.state())))
    assert one.verdict()[0] is Verdict.WORSE


def test_where_a_period_is_one_a_storm_is_one_piece_of_evidence(served):
    """A day that is good for one of two equal models, ten times as many records or not, shows nothing."""
    served.answer(BEGIN, 3000, champion=("1", 0.05), shadow=("2", 0.45))
    assert feed(trial(), served).verdict()[0] is Verdict.BETTER
    one = feed(trial(unit=Unit.PERIOD), served)
    one.close()
    assert one.verdict()[0] is Verdict.UNDECIDED
    assert (one.evidence.count, one.taken) == (1, 3000)
    assert one.evidence.reach == 0.05


def test_periods_that_agree_are_evidence(served):
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
def test_a_trial_goes_on_from_its_state_as_if_it_had_never_stopped(served, stage):
    share = 0.5 if stage is Stage.CANARY else 0.0
    canary = ("2", 0.3, 0.5) if stage is Stage.CANARY else None
    shadow = None if stage is Stage.CANARY else ("2", 0.3)
    served.answer(BEGIN, 500, shadow=shadow, canary=canary)
    whole = feed(trial(stage, share, slices=["city"]), served)
    other = trial(stage, share, slices=["city"])
    other.restore(json.loads(json.dumps(whole.state())))
    served.answer(BEGIN + HOUR, 500, shadow=shadow, canary=canary)
    feed(whole, served)
    assert feed(other, served).state() == whole.state()
    assert whole.taken == 1500
    assert whole.evidence.count == (1000 if stage is Stage.CANARY else 1500)


def test_false_promotions_stay_under_alpha():
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


def test_a_key_that_comes_again_is_no_new_toss(served):
    """A hash sent it, so that it would speak for the same model again each time."""
    keys = pl.Series("id", [f"person {i}" for i in range(300)])
    one = trial(Stage.CANARY, 0.5)
    for hour in range(3):
        served.answer(BEGIN + hour * HOUR, 300, canary=("2", 0.4, 0.5), **{"id": keys})
    evidence = feed(one, served).carried()["evidence"]
    assert (one.evidence.count, one.taken) == (300, 900)
    one.restore(json.loads(json.dumps(one.state())))
    assert feed(one, served).carried()["evidence"] == evidence


def test_what_was_sent_by_the_toss_of_another_stage_does_not_count(served):
    served.answer(BEGIN, 400, canary=("2", 0.4, 0.1))
    assert feed(trial(Stage.CANARY, 0.1), served).taken == 400
    assert feed(trial(Stage.CANARY, 0.5), served).taken == 0


def test_a_canary_equal_to_the_champion_is_not_promoted_where_a_period_is_one():
    """Few records a period, whose weighted mean is often far beyond the reach of periods."""
    random = np.random.default_rng(0)
    promoted = 0
    for _ in range(20):
        one = trial(Stage.CANARY, 0.1, unit=Unit.PERIOD)
        for _ in range(200):
            lost, chosen = random.random(20) < 0.2, random.random(20) < 0.1
            differences = weighted_differences(lost, chosen, share=0.1, centre=0.2)
            one._count(differences, (lost[chosen], lost[~chosen]))
            one.close()
        promoted += one.verdict()[0] is Verdict.BETTER
    assert promoted <= 1


def test_a_canarys_slices_are_guarded_and_good_behaviour_before_is_no_credit(served):
    columns = {"slices": ["city"], "canary": [0.5]}
    served.answer(BEGIN, 3000, shadow=("2", 0.4), city=pl.Series(["Oslo"] * 3000))
    shadow = feed(trial(**columns), served)
    canary = trial(Stage.CANARY, 0.5, json.loads(json.dumps(shadow.carried())), **columns)
    assert canary.evidence.shows("better")
    cities = pl.Series(["Oslo", "Rome"] * 2000)
    served.answer(BEGIN + HOUR, 4000, champion=("1", 0.45), canary=("2", 0.1, 0.5), city=cities)
    verdict, guard = feed(canary, served).verdict()
    assert (verdict, guard) == (Verdict.WORSE, "records with city=Oslo are harmed by more than 0.05")
    assert set(canary.guards.slices) == {"city=Oslo", "city=Rome"}


def test_a_slice_that_is_cut_must_be_harmed_as_it_stands():
    """A little worse on most days, and far better on a few: not harmed on the whole."""
    one = trial(unit=Unit.PERIOD, reach=0.1, slices=["city"], slice_margin=0.05)
    for day in range(600):
        differences = np.full(50, -0.9 if day % 10 == 9 else 0.09)
        one.open = {"": [differences], "city=Oslo": [differences]}
        one.close()
    assert float(one.guards.slices["city=Oslo"].evidence.log_e) > 12
    assert one.guards.verdict == ""
    one.guards.slices["city=Oslo"].total = 3000.0  # had the plain mean been above the margin as well
    assert "city=Oslo" in one.guards.verdict


def test_a_slow_request_of_many_rows_is_one_slow_request(served):
    rows = served.answer(BEGIN, 1000, canary=("2", 0.4, 0.5))
    slow = pl.Series([900_000 if number // 50 % 20 == 0 else 900 for number in range(1000)])
    requests = pl.Series([f"request {number // 50}" for number in range(1000)])
    rows = rows.with_columns(
        latency_us=slow, request=requests, true_label=pl.lit("yes"), value=pl.lit(None, pl.Float32)
    )
    one = trial(Stage.CANARY, 0.5)
    for part in (rows[:520], rows[520:]):
        one.take(part, part.clear())
    assert one.guards.slow.count == 20


def test_carried_evidence_counts_where_the_same_is_asked(served):
    served.answer(BEGIN, 3000, shadow=("2", 0.4))
    carried = json.loads(json.dumps(feed(trial(superiority=False, margin=0.1), served).carried()))
    assert trial(Stage.CANARY, 0.5, carried, superiority=False, margin=0.1).evidence.shows("better")
    for changed in ({}, {"superiority": False, "margin": 0.05}):
        assert not trial(Stage.CANARY, 0.5, carried, **changed).evidence.shows("better")


def test_a_share_that_was_had_before_carries_nothing(served):
    """Its keys would meet the same tosses again."""
    served.answer(BEGIN, 3000, canary=("2", 0.4, 0.1))
    first = json.loads(json.dumps(feed(trial(Stage.CANARY, 0.1), served).carried()))
    second = trial(Stage.CANARY, 0.5, first)
    assert second.earlier == 3000
    second.restore(json.loads(json.dumps(second.state())))
    carried = json.loads(json.dumps(second.carried()))
    assert trial(Stage.CANARY, 0.1, carried).earlier == 0
    assert trial(Stage.CANARY, 0.3, carried).earlier == 3000


def test_records_of_few_keys_end_a_canary(served):
    keys = pl.Series("id", [f"person {i % 20}" for i in range(3000)])
    served.answer(BEGIN, 3000, canary=("2", 0.2, 0.5), **{"id": keys})
    one = feed(trial(Stage.CANARY, 0.5, maximum=3000), served)
    assert (one.evidence.count, one.taken) == (20, 3000)
    assert one.verdict()[0] is Verdict.INCONCLUSIVE


def test_all_that_may_stop_a_version_shares_one_alpha():
    for slices in ([], ["city"]):
        given = rules(slices=slices, alpha=0.04, gain=0.1, canary=[0.1, 0.5], probation=100)
        question = trial(slices=slices, alpha=0.04, gain=0.1).evidence.question
        against = sum(alpha for name, alpha in question.alphas.items() if name != "better")
        assert 4 * (against + sum(given.guards.values())) == pytest.approx(0.04)
        assert question.alphas["better"] == 0.04


def test_a_plan_says_nothing_between_its_looks_and_does_not_look_beyond_its_horizon(served):
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


def test_means_cut_to_their_reach_must_say_what_the_plain_mean_says():
    """A little better on most days, and far worse on a few: worse on the whole."""
    one = trial(unit=Unit.PERIOD, reach=0.05)
    for day in range(200):
        differences = np.full(50, 0.9 if day % 20 == 19 else -0.03)
        one._count(differences, (np.maximum(differences, 0), np.maximum(-differences, 0)))
        one.close()
    assert one.evidence.shows("better") and not one.evidence.shows("worse")
    assert one.figures()["difference"] > 0
    assert one.verdict()[0] is Verdict.UNDECIDED


def test_a_canary_is_not_promoted_on_cut_means_that_its_own_records_deny(served):
    """What shadow showed counts on, and so does what it was in plain numbers."""
    shadow = trial(unit=Unit.PERIOD)
    for _ in range(100):
        differences = np.full(50, -0.04)
        shadow._count(differences, (np.zeros(50), -differences))
        shadow.close()
    assert shadow.verdict()[0] is Verdict.BETTER
    canary = trial(Stage.CANARY, 0.5, json.loads(json.dumps(shadow.carried())), unit=Unit.PERIOD)
    assert canary.verdict()[0] is Verdict.BETTER
    canary._count(np.full(2000, 0.2), (np.full(1000, 0.5), np.full(1000, 0.4)))
    assert canary.evidence.shows("better")
    assert canary.figures()["difference_in_all_stages"] > 0
    assert canary.verdict()[0] is Verdict.UNDECIDED
