"""Decisions: what is proposed in which situation, by real trials and real policies."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from tidemill.bundle.registry.rollout import Desired, Mode
from tidemill.steward import policy
from tidemill.steward.book import Decision, Kind
from tidemill.steward.deciding import Situation, propose
from tidemill.steward.evidence.paired import Verdict
from tidemill.steward.labels import CONTRADICTED
from tidemill.steward.policy import Policy
from tidemill.steward.retraining.retraining import Phase, State
from tidemill.steward.trial.comparison import Stage
from tidemill.steward.watch import Reading, Severity

NOW = datetime(2013, 6, 1, tzinfo=UTC)
POLICY = policy.read(None)
ABOUT = {
    "metric": "log_loss",
    "tried_loss": 0.4,
    "against_loss": 0.5,
    "against": "1",
    "records": 5000,
    "records_in_all_stages": 9000,
    "difference_in_all_stages": -0.08,
    "stage": "shadow",
    "log_e": {"better": 4.0},
    "log_thresholds": {"better": 3.0, "worse": 3.7},
}


def trial(
    verdict: Verdict, guard: str = "", *, stage: Stage = Stage.SHADOW, share: float = 0.0, taken: int = 5000
) -> Any:
    """A trial that has come to a verdict; how it does is the matter of test_trial.py."""
    return SimpleNamespace(
        verdict=lambda: (verdict, guard),
        figures=lambda: ABOUT,
        carried=lambda: {"evidence": {}, "centre": 0.1},
        comparison=SimpleNamespace(stage=stage, tried="2", other="1", share=share),
        taken=taken,
    )


def now(**changes: Any) -> Situation:
    state = Desired(generation=4, champion="1")
    return Situation(**{"moment": NOW, "began": NOW - timedelta(days=40), "desired": state, "decisions": (), **changes})


def triggered(**changes: Any) -> Policy:
    return replace(POLICY, triggers=replace(POLICY.triggers, **changes))


def harm(check: str = "performance", severity: Severity = Severity.HARM) -> Reading:
    return Reading(
        check=check,
        subject="",
        severity=severity,
        says="log_loss is 0.6 instead of 0.5.",
        remedy="retrain",
        log_e=9.0,
        log_threshold=3.0,
        effect=0.1,
        unit="log_loss",
    )


def retrained(days_ago: int, number: int = 1, **more: Any) -> Decision:
    moment = NOW - timedelta(days=days_ago)
    name = f"retraining-{number}"
    return Decision(number=number, kind=Kind.RETRAIN, moment=moment, reason="r", generation=1, retraining=name, **more)


@pytest.mark.parametrize("verdict", [Verdict.UNDECIDED])
def test_an_undecided_trial_goes_on(verdict: Verdict) -> None:
    assert propose(POLICY, now(trial=trial(verdict))) is None


@pytest.mark.parametrize(
    ("verdict", "says"),
    [(Verdict.WORSE, "worse"), (Verdict.FUTILE, "hoped for"), (Verdict.INCONCLUSIVE, "Inconclusive on 9,000")],
)
def test_a_trial_that_is_lost_ends(verdict: Verdict, says: str) -> None:
    proposal = propose(POLICY, now(trial=trial(verdict)))
    assert (proposal.kind, proposal.version) == (Kind.DROP, "2")
    assert says in proposal.reason
    assert proposal.evidence == ABOUT


def test_a_broken_guardrail_ends_it_by_name() -> None:
    proposal = propose(POLICY, now(trial=trial(Verdict.WORSE, "city=Oslo is harmed")))
    assert proposal.kind is Kind.DROP
    assert "city=Oslo is harmed" in proposal.reason


def test_a_won_trial_climbs_from_stage_to_stage_until_it_is_champion() -> None:
    first = propose(POLICY, now(trial=trial(Verdict.BETTER)))
    assert (first.kind, first.share) == (Kind.CANARY, 0.1)
    assert first.evidence["carried"] == {"evidence": {}, "centre": 0.1}
    second = propose(POLICY, now(trial=trial(Verdict.BETTER, stage=Stage.CANARY, share=0.1)))
    assert (second.kind, second.share) == (Kind.CANARY, 0.5)
    last = propose(POLICY, now(trial=trial(Verdict.BETTER, stage=Stage.CANARY, share=0.5)))
    assert (last.kind, last.version) == (Kind.PROMOTE, "2")
    assert last.reason == (
        "It is shown to be better: its log_loss is 0.4000 against 0.5000 of version 1 on 5,000 records (shadow), "
        "-0.0800 on all 9,000 so far. Chance alone would show this in at most 1 of 54 cases. "
        "It becomes champion; version 1 can come back for 20,000 records more."
    )
    straight = replace(POLICY, trial=replace(POLICY.trial, canary=[]))
    assert propose(straight, now(trial=trial(Verdict.BETTER))).kind is Kind.PROMOTE


def test_a_canary_stage_sees_its_minimum_first() -> None:
    early = trial(Verdict.BETTER, stage=Stage.CANARY, share=0.5, taken=POLICY.trial.stage_minimum - 1)
    assert propose(POLICY, now(trial=early)) is None


def test_a_champion_on_probation_is_taken_back_or_kept() -> None:
    back = propose(POLICY, now(trial=trial(Verdict.WORSE, stage=Stage.PROBATION)))
    assert (back.kind, back.version) == (Kind.ROLLBACK, "1")
    assert propose(POLICY, now(trial=trial(Verdict.BETTER, stage=Stage.PROBATION))) is None
    done = trial(Verdict.BETTER, stage=Stage.PROBATION, taken=POLICY.trial.probation)
    assert propose(POLICY, now(trial=done)).kind is Kind.KEEP


def test_a_retraining_leads_to_a_shadow_if_the_gate_passes_it() -> None:
    passed = State(phase=Phase.DONE, version="2", passed=True, reasons=("It is better.",))
    proposal = propose(POLICY, now(retraining=("retraining-1", passed)))
    assert (proposal.kind, proposal.version, proposal.retraining) == (Kind.SHADOW, "2", "retraining-1")
    assert "It is better." in proposal.reason
    canary = replace(POLICY, trial=replace(POLICY.trial, shadow=False))
    assert propose(canary, now(retraining=("retraining-1", passed))).share == 0.1


@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        (
            State(phase=Phase.DONE, version="2", passed=False, reasons=("It is worse.",)),
            "The gate refuses it: It is worse",
        ),
        (State(phase=Phase.FAILED, why="no labels"), "It failed: no labels"),
    ],
)
def test_a_retraining_that_comes_to_nothing_is_dropped(outcome: State, says: str) -> None:
    proposal = propose(POLICY, now(retraining=("retraining-1", outcome)))
    assert (proposal.kind, proposal.retraining, proposal.reason) == (
        Kind.DROP,
        "retraining-1",
        f"{says}. Nothing changes.",
    )


def test_what_somebody_has_made_champion_meanwhile_is_not_tried() -> None:
    outcome = State(phase=Phase.DONE, version="7", passed=True, reasons=("Better.",))
    made = propose(POLICY, now(desired=Desired(generation=4, champion="7"), retraining=("retraining-1", outcome)))
    assert (made.kind, made.reason) == (Kind.DROP, "Somebody has made it champion already. Nothing changes.")


def test_while_one_retraining_runs_no_other_begins() -> None:
    assert propose(POLICY, now(retraining=("retraining-1", None), alarms=[harm()])) is None


def test_harm_begins_a_retraining_and_drift_does_not() -> None:
    proposal = propose(POLICY, now(alarms=[harm("drift", Severity.ADVICE), harm()]))
    assert (proposal.kind, proposal.retraining) == (Kind.RETRAIN, "retraining-1")
    assert proposal.reason == (
        "log_loss is 0.6 instead of 0.5. Chance alone would show this in at most 1 of 8,069 cases. "
        "So a new model is trained; its trial decides about it."
    )
    assert propose(POLICY, now(alarms=[harm("drift", Severity.ADVICE)])) is None
    assert propose(POLICY, now(alarms=[harm("missing")])) is None, "no training mends a sensor"
    assert propose(triggered(on_harm=False), now(alarms=[harm()])) is None


def test_time_begins_a_retraining() -> None:
    assert propose(triggered(every_days=41.0), now()) is None
    assert propose(triggered(every_days=40.0), now()).kind is Kind.RETRAIN
    assert propose(triggered(every_days=40.0), now(decisions=[retrained(39)])) is None
    assert propose(triggered(every_days=40.0), now(decisions=[retrained(40)])).retraining == "retraining-2"


def test_between_two_retrainings_it_cools_down() -> None:
    held = propose(POLICY, now(alarms=[harm()], decisions=[retrained(3)]))
    assert held.kind is Kind.HOLD
    assert "between two lie 7 days" in held.reason


@pytest.mark.parametrize("version", [None, "5"])  # it failed, or the gate refused what it made
def test_after_failed_retrainings_the_next_waits_longer_each_time_though_nothing_cools_down(
    version: str | None,
) -> None:
    hasty, made = triggered(cooldown_days=0.0, budget=100), []
    for number in range(1, 9):
        made += [retrained(1, number=2 * number - 1)]
        name = f"retraining-{number}"
        made[-1] = replace(made[-1], retraining=name)
        made += [
            Decision(
                number=2 * number,
                kind=Kind.DROP,
                moment=NOW,
                reason="r",
                generation=1,
                retraining=name,
                version=version,
            )
        ]
        pause = timedelta(days=2 ** min(number - 1, 5))
        early = now(alarms=[harm()], decisions=made, moment=made[-2].moment + pause - timedelta(minutes=1))
        held = propose(hasty, early)
        assert held.kind is Kind.HOLD
        assert f"between two lie {pause.days} days after {number} that came to nothing" in held.reason
        assert propose(hasty, replace(early, moment=made[-2].moment + pause)).kind is Kind.RETRAIN
    assert propose(hasty, now(alarms=[harm()], decisions=[retrained(0)])).kind is Kind.RETRAIN, (
        "that one came to something"
    )


def test_the_budget_of_a_month_holds() -> None:
    made = [retrained(8 + day, number=day) for day in range(1, 5)]
    held = propose(POLICY, now(alarms=[harm()], decisions=made))
    assert held.kind is Kind.HOLD
    assert "4 of 4 retrainings within 30 days are spent" in held.reason
    assert propose(POLICY, now(alarms=[harm()], decisions=made[:3])).kind is Kind.RETRAIN


def test_a_retraining_that_was_only_proposed_spends_nothing() -> None:
    assert propose(POLICY, now(alarms=[harm()], decisions=[retrained(3, proposed=True)])).kind is Kind.RETRAIN


def test_a_model_that_is_not_served_is_left_alone() -> None:
    assert propose(POLICY, now(desired=Desired(generation=0), alarms=[harm()])) is None
    unloaded = Desired(generation=2, champion="1", serving=False, mode=Mode.OFF)
    assert propose(POLICY, now(desired=unloaded, alarms=[harm()])) is None


def test_no_model_is_trained_on_labels_that_contradict_each_other() -> None:
    doubt = replace(harm(CONTRADICTED, Severity.ADVICE), says="90 of 900 labelled answers have had labels that differ.")
    assert propose(POLICY, now(alarms=[harm()])).kind is Kind.RETRAIN
    found = propose(POLICY, now(alarms=[harm(), doubt]))
    assert found.kind is Kind.HOLD
    assert "No new model is trained yet, as labels contradict each other: 90 of 900" in found.reason
