"""The loop on a real ledger and registry: retraining, trial, promotion, return; each once, whoever is killed when."""

import json
import re
from typing import Any

import pytest
from looking import BEGIN, TRAINER, kinds, look, office, rules, served, status_text
from served import HOUR, MODEL, bundle

from tidemill.bundle import checksums, manifest
from tidemill.bundle.registry.rollout import Mode as Rollout
from tidemill.steward import steward
from tidemill.steward.book import Book, Kind, readings
from tidemill.steward.policy import Authority
from tidemill.steward.records import Records
from tidemill.steward.steward import Steward
from tidemill.steward.watch import Severity

__all__ = ["served"]

pytestmark = pytest.mark.slow  # whole looks at a real ledger, with retrainings in processes of their own


def test_from_a_trial_to_a_champion_that_is_kept(served: Any) -> None:
    served.challenge("2")
    served.answer(BEGIN, 1000, champion=("1", 0.1), shadow=("2", 0.4))
    look(served, 6)
    assert kinds(served) == ["canary"]
    served.answer(BEGIN + 6 * HOUR, 1000, champion=("1", 0.1), canary=("2", 0.4, 0.5))
    look(served, 12)
    assert kinds(served) == ["canary", "promote"]
    desired = served.registry.desired(MODEL)
    assert (desired.champion, desired.challenger, desired.mode) == ("2", "1", Rollout.SHADOW), "on probation"
    served.answer(BEGIN + 12 * HOUR, 1000, champion=("2", 0.4), shadow=("1", 0.1))
    look(served, 18)
    assert kinds(served) == ["canary", "promote", "keep"]
    assert served.registry.desired(MODEL).mode is Rollout.OFF
    history = served.registry.history(MODEL)
    assert [change.by for change in history if change.version == "2" and change.alias == "champion"] == [
        "steward, decision 2"
    ]


def test_a_champion_that_turns_out_worse_is_taken_back(served: Any) -> None:
    served.challenge("2")
    served.answer(BEGIN, 1000, champion=("1", 0.1), shadow=("2", 0.4))
    look(served, 6, rules(trial={"canary": []}))
    served.answer(BEGIN + 6 * HOUR, 1000, champion=("2", 0.05), shadow=("1", 0.4))
    look(served, 12, rules(trial={"canary": []}))
    assert kinds(served) == ["promote", "rollback"]
    desired = served.registry.desired(MODEL)
    assert (desired.champion, desired.challenger, desired.rolled_back) == ("1", None, True)


def test_a_challenger_that_is_no_better_is_dropped(served: Any) -> None:
    served.challenge("2")
    served.answer(BEGIN, 1000, shadow=("2", 0.2))
    look(served, 6, rules(trial={"maximum": 1000}))
    (made,) = Book(served.ledger, MODEL).decisions()
    assert made.kind is Kind.DROP
    assert "Inconclusive on 1,000 records" in made.reason
    assert made.evidence["records"] == 1000
    assert served.registry.desired(MODEL).mode is Rollout.OFF


def test_it_retrains_and_tries_what_comes_of_it(served: Any) -> None:
    served.answer(BEGIN, 500, hours=30)
    look(served, 40, rules(triggers={"every_days": 1.0}))
    assert kinds(served) == ["retrain", "shadow"]
    desired = served.registry.desired(MODEL)
    assert (desired.challenger, desired.mode) == ("4", Rollout.SHADOW)
    retrain, shadow = Book(served.ledger, MODEL).decisions()
    assert retrain.retraining == shadow.retraining == "retraining-1"
    assert "The gate passes it: It was compared." in shadow.reason


def test_what_the_gate_refuses_is_not_tried(served: Any) -> None:
    served.answer(BEGIN, 500, hours=30)
    refusing = rules(triggers={"every_days": 1.0}, retrain={"command": ["python", TRAINER, "passes=no"]})
    look(served, 40, refusing)
    assert kinds(served) == ["retrain", "drop"]
    assert served.registry.desired(MODEL).challenger is None


def test_a_retraining_without_labels_fails_before_work_is_wasted(served: Any) -> None:
    served.answer(BEGIN, 500, hours=30, labelled=0.1)
    look(served, 40, rules(triggers={"every_days": 1.0}))
    made = Book(served.ledger, MODEL).decisions()
    assert [one.kind for one in made] == [Kind.RETRAIN, Kind.DROP]
    assert "A retraining needs enough labelled records" in made[-1].reason


def test_a_decision_whose_maker_was_killed_is_carried_out_once(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    served.challenge("2")
    served.answer(BEGIN, 1000, champion=("1", 0.1), shadow=("2", 0.4))
    given = rules(trial={"canary": []})
    with monkeypatch.context() as killed:
        killed.setattr(steward.acting, "carry_out", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            look(served, 6, given)
    assert kinds(served) == ["promote"]
    assert served.registry.desired(MODEL).champion == "1"
    look(served, 6, given)
    assert kinds(served) == ["promote"]
    assert served.registry.desired(MODEL).champion == "2"
    generation = served.registry.desired(MODEL).generation
    look(served, 6, given)
    assert served.registry.desired(MODEL).generation == generation


def test_a_decision_is_void_once_somebody_else_has_changed_the_registry(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.challenge("2")
    served.answer(BEGIN, 1000, champion=("1", 0.1), shadow=("2", 0.4))
    given = rules(trial={"canary": []})
    one = Steward(office(served), given)
    assert one.look(BEGIN + 6 * HOUR)
    served.registry.promote(MODEL, "3", by="ann", reason="better than all")
    look(served, 6, given, one)
    assert served.registry.desired(MODEL).champion == "3"


def test_two_stewards_decide_once(served: Any) -> None:
    served.challenge("2")
    served.answer(BEGIN, 1000, champion=("1", 0.1), shadow=("2", 0.4))
    given = rules(trial={"canary": []})
    both = [Steward(office(served), given) for _ in range(2)]
    for _ in range(4):
        for one in both:
            one.look(BEGIN + 6 * HOUR)
    assert kinds(served) == ["promote"]
    assert [change.version for change in served.registry.history(MODEL) if change.alias == "champion"] == ["1", "2"]


def test_what_was_weighed_is_kept_and_can_be_made_again(served: Any) -> None:
    served.challenge("2")
    for hour in range(4):
        served.answer(BEGIN + hour * HOUR, 200, champion=("1", 0.2), shadow=("2", 0.21))
    look(served, 5)  # in two goes
    look(served, 9)
    file = served.place / "ledger" / MODEL / "steward" / "state.json"
    kept = json.loads(file.read_text())["weighing"]["trial"]
    assert kept["whole"]["carried"]["taken"] == 800
    file.unlink()
    look(served, 9)
    assert json.loads(file.read_text())["weighing"]["trial"] == kept
    whole = file.read_text()
    for broken in ("{broken", whole.replace('"taken"', '"pears"')):
        file.write_text(broken)
        look(served, 9)
        assert json.loads(file.read_text())["weighing"]["trial"] == kept
    assert readings(served.ledger, MODEL).collect().filter(check="labels").height == 4 + 1


def test_a_look_that_fails_half_way_takes_nothing_in_twice_and_skips_nothing(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.challenge("2")
    for hour in range(3):
        served.answer(BEGIN + hour * HOUR, 200, champion=("1", 0.2), shadow=("2", 0.21))
    one, shadows = Steward(office(served), rules()), Records.shadows
    failed = []

    def fails(records: Any, rows: Any, version: Any) -> Any:
        if not failed:
            failed.append(rows.height)
            raise OSError("the store is out of reach")
        return shadows(records, rows, version)

    monkeypatch.setattr(Records, "shadows", fails)
    with pytest.raises(OSError, match="the store is out of reach"):
        look(served, 9, one=one)
    look(served, 9, one=one)
    kept = json.loads((served.place / "ledger" / MODEL / "steward" / "state.json").read_text())["weighing"]
    assert kept["trial"]["whole"]["carried"]["taken"] == 600


def test_alarms_outlive_the_steward_that_told_of_them(served: Any, caplog: pytest.LogCaptureFixture) -> None:
    served.challenge("2")
    served.answer(BEGIN, 1000, champion=("1", 0.1), shadow=("2", 0.4))
    look(served, 6, rules(trial={"canary": []}))  # from here on version 1 answers in shadow
    served.answer(BEGIN + 6 * HOUR, 1500, champion=("2", 0.05), shadow=("1", 0.4))
    observed = rules(Authority.OBSERVE, trial={"canary": []})
    one = look(served, 12, observed)
    (alarm,) = one._weighing.alarms["labels"]
    assert (alarm.check, alarm.severity) == ("trial worse", Severity.HARM)
    assert "Alarm: trial worse" in caplog.text
    caplog.clear()
    other = look(served, 12, observed)
    assert other._weighing.alarms["labels"] == [alarm]
    assert "Alarm" not in caplog.text


def test_evidence_against_another_champion_is_not_carried_on(served: Any) -> None:
    served.challenge("2")
    served.answer(BEGIN, 1000, champion=("1", 0.1), shadow=("2", 0.4))
    one = look(served, 6)
    assert kinds(served) == ["canary"]
    assert one._weighing.trial.whole.records == 1000
    served.registry.promote(MODEL, "3", by="ann", reason="better than all")
    look(served, 6, one=one)
    assert one._weighing.trial.comparison.other == "3"
    assert one._weighing.trial.whole.records == 0


def test_it_observes_without_doing_anything(served: Any) -> None:
    served.challenge("2")
    served.answer(BEGIN, 1000, champion=("1", 0.1), shadow=("2", 0.4))
    generation = served.registry.desired(MODEL).generation
    for _ in range(2):
        look(served, 6, rules(Authority.OBSERVE, trial={"canary": []}))
    (made,) = Book(served.ledger, MODEL).decisions()
    assert (made.kind, made.proposed) == (Kind.PROMOTE, True)
    assert served.registry.desired(MODEL).generation == generation


def test_a_failed_retraining_is_no_question_and_is_not_followed_at_once_by_the_next(served: Any) -> None:
    served.answer(BEGIN, 500, hours=30, labelled=0.1)
    for hours in (40, 41):
        look(served, hours, rules(Authority.ACT, triggers={"every_days": 0.001, "cooldown_days": 0.0, "budget": 99}))
    retrain, drop, held = Book(served.ledger, MODEL).decisions()
    assert (retrain.kind, drop.kind, held.kind) == (Kind.RETRAIN, Kind.DROP, Kind.HOLD)
    assert not drop.proposed
    assert "between two lie 1 days after 1 that came to nothing" in held.reason


def crown_one_with_figures(served: Any) -> None:
    """A champion of whose test split there are figures: a gate with a margin of 5% needs 290 rows, and half as many."""
    place = bundle(served.place / "figured")
    described = json.loads((place / manifest.NAME).read_text())
    loss = {"name": "log_loss", "value": 0.6, "lower": 0.58, "upper": 0.62, "higher_is_better": False}
    described["results"] = {"test": {"rows": 2000, "metrics": [loss]}}
    described["settings"] |= {"gate": {"margin": 0.05, "level": 0.95}, "evaluation": {"level": 0.95}}
    (place / manifest.NAME).write_text(json.dumps(described))
    checksums.write(place)
    served.registry.promote(MODEL, served.registry.add(MODEL, place), by="ann", reason="figures")


def test_a_retraining_whose_gate_could_not_decide_is_not_begun_until_it_can(served: Any) -> None:
    crown_one_with_figures(served)
    daily = rules(triggers={"every_days": 1.0, "cooldown_days": 0.0})
    served.answer(BEGIN, 200, hours=30, champion=("4", 0.2))
    one = look(served, 40, daily)
    assert kinds(served) == ["hold"]
    (held,) = Book(served.ledger, MODEL).decisions()
    assert held.evidence["records_needed"] > 400 and held.evidence["records_present"] == pytest.approx(200, abs=5)
    assert "No new model is trained yet: with a margin of 5.0%" in held.reason
    assert re.search(
        r"200 labelled records are old enough, of 435; at this pace there are enough about 20\d\d-", held.reason
    )
    assert json.loads(status_text(served))["retraining_waits_for"] in held.reason
    served.answer(BEGIN + 60 * HOUR, 2000, hours=30, champion=("4", 0.2))
    look(served, 100, daily, one)
    assert kinds(served)[:2] == ["hold", "retrain"]
