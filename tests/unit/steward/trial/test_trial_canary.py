"""A challenger in a canary: its share, its tosses, its slices, and what carries on."""

from datetime import timedelta

import numpy as np
import polars as pl
from served import HOUR, Served
from trial_parts import BEGIN, feed, served, trial

from reread import reread
from tidemill.steward.evidence.paired import Verdict, weighted_differences
from tidemill.steward.policy import Unit
from tidemill.steward.snapshots import plain
from tidemill.steward.trial.comparison import Stage

__all__ = ["served"]


def test_a_canary_is_weighed_by_its_share_and_carries_on(served: Served) -> None:
    served.answer(BEGIN, 3000, shadow=("2", 0.4))
    shadow = feed(trial(), served)
    carried = reread(shadow.state.carried)
    canary = trial(Stage.CANARY, 0.3, carried)
    assert canary.verdict()[0] is Verdict.BETTER, "what was shown stays shown"
    assert canary.records == 3000
    served.answer(BEGIN + timedelta(hours=3), 6000, canary=("2", 0.4, 0.3))
    fed = feed(canary, served)
    assert fed.taken == 6000
    assert 0.25 < fed.state.tried.count / 6000 < 0.35
    assert fed.figures()["difference"] < 0
    assert float(fed.evidence.tests["better"].log_e) > float(shadow.evidence.tests["better"].log_e)


def test_records_of_one_key_are_one_toss(served: Served) -> None:
    keys = pl.Series("id", [f"person {i // 10}" for i in range(3000)])
    served.answer(BEGIN, 3000, canary=("2", 0.4, 0.5), **{"id": keys})
    one = feed(trial(Stage.CANARY, 0.5), served)
    assert (one.evidence.count, one.taken) == (300, 3000)


def test_pinned_requests_are_no_tosses(served: Served) -> None:
    rows = served.answer(BEGIN, 100, canary=("2", 0.4, 0.5)).with_columns(
        propensity=pl.lit(1.0), true_label=pl.lit("yes")
    )
    one = trial(Stage.CANARY, 0.5)
    one.take(rows, rows.clear())
    assert one.taken == 0


def test_a_harmed_slice_stops_what_is_better_on_the_whole(served: Served) -> None:
    city = pl.Series("city", ["Oslo"] * 600)
    served.answer(BEGIN, 600, champion=("1", 0.45), shadow=("2", 0.05), city=city)
    served.answer(
        BEGIN + timedelta(hours=1), 6000, champion=("1", 0.05), shadow=("2", 0.4), city=pl.Series(["Rome"] * 6000)
    )
    verdict, guard = feed(trial(slices=["city"]), served).verdict()
    assert verdict is Verdict.WORSE
    assert "city=Oslo" in guard
    assert feed(trial(), served).verdict() == (Verdict.BETTER, "")


def test_a_key_that_comes_again_is_no_new_toss(served: Served) -> None:
    """A hash sent it, so that it would speak for the same model again each time."""
    keys = pl.Series("id", [f"person {i}" for i in range(300)])
    one = trial(Stage.CANARY, 0.5)
    for hour in range(3):
        served.answer(BEGIN + hour * HOUR, 300, canary=("2", 0.4, 0.5), **{"id": keys})
    evidence = plain(feed(one, served).evidence)
    assert (one.evidence.count, one.taken) == (300, 900)
    one.state = reread(one.state)
    assert plain(feed(one, served).evidence) == evidence


def test_what_was_sent_by_the_toss_of_another_stage_does_not_count(served: Served) -> None:
    served.answer(BEGIN, 400, canary=("2", 0.4, 0.1))
    assert feed(trial(Stage.CANARY, 0.1), served).taken == 400
    assert feed(trial(Stage.CANARY, 0.5), served).taken == 0


def test_a_canary_equal_to_the_champion_is_not_promoted_where_a_period_is_one() -> None:
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


def test_a_canarys_slices_are_guarded_and_good_behaviour_before_is_no_credit(served: Served) -> None:
    columns = {"slices": ["city"], "canary": [0.5]}
    served.answer(BEGIN, 3000, shadow=("2", 0.4), city=pl.Series(["Oslo"] * 3000))
    shadow = feed(trial(**columns), served)
    canary = trial(Stage.CANARY, 0.5, reread(shadow.state.carried), **columns)
    assert canary.evidence.shows("better")
    cities = pl.Series(["Oslo", "Rome"] * 2000)
    served.answer(BEGIN + HOUR, 4000, champion=("1", 0.45), canary=("2", 0.1, 0.5), city=cities)
    verdict, guard = feed(canary, served).verdict()
    assert (verdict, guard) == (Verdict.WORSE, "records with city=Oslo are harmed by more than 0.05")
    assert set(canary.state.guards.slices) == {"city=Oslo", "city=Rome"}


def test_a_slice_that_is_cut_must_be_harmed_as_it_stands() -> None:
    """A little worse on most days, and far better on a few: not harmed on the whole."""
    one = trial(unit=Unit.PERIOD, reach=0.1, slices=["city"], slice_margin=0.05)
    for day in range(600):
        differences = np.full(50, -0.9 if day % 10 == 9 else 0.09)
        one.state.open = {"": [differences], "city=Oslo": [differences]}
        one.close()
    assert float(one.state.guards.slices["city=Oslo"].evidence.log_e) > 12
    assert one.state.guards.verdict(one.rules) == ""
    one.state.guards.slices["city=Oslo"].mean.total = 3000.0  # had the plain mean been above the margin as well
    assert "city=Oslo" in one.state.guards.verdict(one.rules)


def test_a_slow_request_of_many_rows_is_one_slow_request(served: Served) -> None:
    rows = served.answer(BEGIN, 1000, canary=("2", 0.4, 0.5))
    slow = pl.Series([900_000 if number // 50 % 20 == 0 else 900 for number in range(1000)])
    requests = pl.Series([f"request {number // 50}" for number in range(1000)])
    rows = rows.with_columns(
        latency_us=slow, request=requests, true_label=pl.lit("yes"), value=pl.lit(None, pl.Float32)
    )
    one = trial(Stage.CANARY, 0.5)
    for part in (rows[:520], rows[520:]):
        one.take(part, part.clear())
    assert one.state.guards.slow.count == 20


def test_carried_evidence_counts_where_the_same_is_asked(served: Served) -> None:
    served.answer(BEGIN, 3000, shadow=("2", 0.4))
    carried = reread(feed(trial(superiority=False, margin=0.1), served).state.carried)
    assert trial(Stage.CANARY, 0.5, carried, superiority=False, margin=0.1).evidence.shows("better")
    for changed in ({}, {"superiority": False, "margin": 0.05}):
        assert not trial(Stage.CANARY, 0.5, carried, **changed).evidence.shows("better")


def test_a_share_that_was_had_before_carries_nothing(served: Served) -> None:
    """Its keys would meet the same tosses again."""
    served.answer(BEGIN, 3000, canary=("2", 0.4, 0.1))
    first = reread(feed(trial(Stage.CANARY, 0.1), served).state.carried)
    second = trial(Stage.CANARY, 0.5, first)
    assert second.state.carried.earlier == 3000
    second.state = reread(second.state)
    carried = reread(second.state.carried)
    assert trial(Stage.CANARY, 0.1, carried).state.carried.earlier == 0
    assert trial(Stage.CANARY, 0.3, carried).state.carried.earlier == 3000


def test_records_of_few_keys_end_a_canary(served: Served) -> None:
    keys = pl.Series("id", [f"person {i % 20}" for i in range(3000)])
    served.answer(BEGIN, 3000, canary=("2", 0.2, 0.5), **{"id": keys})
    one = feed(trial(Stage.CANARY, 0.5, maximum=3000), served)
    assert (one.evidence.count, one.taken) == (20, 3000)
    assert one.verdict()[0] is Verdict.INCONCLUSIVE


def test_a_canary_is_not_promoted_on_cut_means_that_its_own_records_deny(served: Served) -> None:
    """What shadow showed counts on, and so does what it was in plain numbers."""
    shadow = trial(unit=Unit.PERIOD)
    for _ in range(100):
        differences = np.full(50, -0.04)
        shadow._count(differences, (np.zeros(50), -differences))
        shadow.close()
    assert shadow.verdict()[0] is Verdict.BETTER
    canary = trial(Stage.CANARY, 0.5, reread(shadow.state.carried), unit=Unit.PERIOD)
    assert canary.verdict()[0] is Verdict.BETTER
    canary._count(np.full(2000, 0.2), (np.full(1000, 0.5), np.full(1000, 0.4)))
    assert canary.evidence.shows("better")
    assert canary.figures()["difference_in_all_stages"] > 0
    assert canary.verdict()[0] is Verdict.UNDECIDED
