"""What may go wrong around the loop, on a real ledger and registry: it goes on, and decides on what is right."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from looking import BEGIN, TRAINER, kinds, look, office, rules, status_text
from served import HOUR, MODEL, Served
from test_notices import hook

from tidemill.bundle.registry.rollout import Mode
from tidemill.errors import BundleError, RegistryError, TrainingError
from tidemill.ledger.columns import LABELS
from tidemill.steward import labels, policy
from tidemill.steward.book import Book, Kind
from tidemill.steward.snapshots import plain
from tidemill.steward.steward import Steward

__all__ = ["hook"]

pytestmark = pytest.mark.slow  # whole looks at a real ledger, with retrainings in processes of their own


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("PYTHONPATH", str(Path(TRAINER).parent))
    return Served(tmp_path)


def watching(**changes: Any) -> Any:
    return replace(rules(**changes), watches=policy.read(None).watches)


def test_a_label_of_another_kind_is_none(served: Any) -> None:
    served.challenge("2")
    ids = served.answer(BEGIN, 1000, champion=("1", 0.1), shadow=("2", 0.4))["id"][:1]
    sent = pl.DataFrame({"id": ids, "value": [1.0], "at": [BEGIN + HOUR], "day": [BEGIN.date()]})
    served._write("labels", sent, LABELS)
    look(served, 6)
    (made,) = Book(served.ledger, MODEL).decisions()
    assert made.evidence["records"] == 999


def test_a_ledger_without_inputs_is_weighed_all_the_same(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    write = served._write

    def hidden(name: Any, rows: Any, columns: Any) -> None:
        write(name, rows.drop("inputs", strict=False), columns)

    monkeypatch.setattr(served, "_write", hidden)
    served.challenge("2")
    served.answer(BEGIN, 1000, champion=("1", 0.1), shadow=("2", 0.4))
    look(served, 6, watching())
    served.answer(BEGIN + 6 * HOUR, 1000, champion=("1", 0.1), canary=("2", 0.4, 0.5))
    look(served, 12, watching())
    assert kinds(served) == ["canary", "promote"]


def test_columns_may_have_changed_their_type(served: Any) -> None:
    served.challenge("2")
    changed = {"size": pl.Series(["large"] * 1000), "city": pl.Series(range(1000))}
    served.answer(BEGIN, 1000, champion=("1", 0.1), shadow=("2", 0.4), **changed)
    look(served, 6, watching(trial={"slices": ["city"]}))
    assert kinds(served) == ["canary"]


@pytest.mark.parametrize("part", ["null", "[]", "watch", "future"])
def test_a_state_that_is_none_is_thrown_away_as_a_whole(served: Any, part: Any) -> None:
    served.answer(BEGIN, 300)
    one = look(served, 6, watching())
    weighed = plain(one._weighing.state())
    file = served.place / "ledger" / MODEL / "steward" / "state.json"
    state = json.loads(file.read_text())
    if part == "watch":
        state["weighing"]["watches"]["service"] = {}
    elif part == "future":
        state["weighing"]["progress"]["seen_until"] = "2999-01-01T00:00:00+00:00"
    else:
        state = json.loads(part)
    file.write_text(json.dumps(state))
    assert plain(look(served, 6, watching())._weighing.state()) == weighed


def test_what_cannot_be_carried_out_does_not_stop_the_weighing(served: Any) -> None:
    served.challenge("2")
    served.answer(BEGIN, 1000, champion=("1", 0.1), shadow=("2", 0.4))
    one = Steward(office(served), rules())
    assert one.look(BEGIN + 6 * HOUR)
    shutil.rmtree(served.place / "registry" / MODEL / "2")
    served.answer(BEGIN + 6 * HOUR, 100)
    with pytest.raises(RegistryError, match="m/2"):
        one.look(BEGIN + 12 * HOUR)
    assert json.loads(status_text(served))["labelled_until"] == (BEGIN + 8 * HOUR).isoformat()  # 3 hours and the grace


def test_evidence_against_one_champion_is_not_carried_on_against_another(served: Any) -> None:
    served.challenge("2")
    served.answer(BEGIN, 1000, champion=("1", 0.1), shadow=("2", 0.4))
    one = look(served, 6)
    served.registry.set_rollout(MODEL, Mode.CANARY, 0.3, by="ann", reason="less of it")
    assert look(served, 6, one=one)._weighing.trial.state.whole.carried.earlier == 1000
    served.registry.promote(MODEL, "3", by="ann", reason="better")
    assert look(served, 6, one=one)._weighing.trial.state.whole.carried.earlier == 0
    served.challenge("1")
    served.challenge("2", Mode.CANARY, 0.5)
    assert look(served, 6)._weighing.trial.state.whole.carried.earlier == 0


@pytest.mark.parametrize("content", [None, "[]", "{}", "{broken"])
def test_a_bundle_without_a_profile_is_named(served: Any, content: Any) -> None:
    file = served.place / "registry" / MODEL / "1" / "profile.json"
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(BundleError, match="A version that is watched has a profile"):
        look(served, 6)


def test_what_another_retraining_left_behind_is_not_this_one_s(served: Any) -> None:
    """Such as that of another ledger, or of the same one before it was begun anew."""
    left = {"phase": "done", "attempts": 1, "version": "3", "passed": True, "reasons": ["It was."], "why": None}
    folder = served.place / "work" / "retraining-1"
    folder.mkdir(parents=True)
    (folder / "outcome.json").write_text(json.dumps(left))
    served.answer(BEGIN, 500, hours=30)
    look(served, 40, rules(triggers={"every_days": 1.0}))
    assert [one.version for one in Book(served.ledger, MODEL).decisions()] == [None, "4"]


def test_a_version_that_no_gate_has_judged_is_not_tried(served: Any, tmp_path: Path) -> None:
    ungated = tmp_path / "ungated.py"
    text = Path(TRAINER).read_text().replace('"gate": {"passed": passed, "reasons": ["It was compared."]}', "")
    ungated.write_text(text)
    served.answer(BEGIN, 500, hours=30)
    look(served, 40, rules(triggers={"every_days": 1.0}, retrain={"command": ["python", str(ungated)]}))
    made = Book(served.ledger, MODEL).decisions()[-1]
    assert (made.kind, made.version, made.reason) == (
        Kind.DROP,
        "4",
        "It failed: It made version 4, which no gate has judged. Nothing changes.",
    )


def test_a_webhook_gets_the_reason_of_a_failed_retraining_and_where_its_log_lies(
    served: Any, tmp_path: Path, hook: Any
) -> None:
    failing = tmp_path / "failing.py"
    failing.write_text("raise ValueError('it went wrong\\n' + 'x' * 7000)")
    served.answer(BEGIN, 500, hours=30)
    given = rules(triggers={"every_days": 1.0}, retrain={"command": ["python", str(failing)]})
    one = look(served, 40, replace(given, notify=policy.NotifySettings(webhook=hook.url)))
    one.close()
    told = hook.taken[-1]["decision"]
    assert told["kind"] == "drop"
    assert told["reason"].startswith("It failed: ValueError: it went wrong xxx") and len(told["reason"]) < 800
    assert "attempt-1.log. Nothing changes." in told["reason"]
    assert len(json.dumps(hook.taken[-1])) < 1500


def test_a_trial_is_decided_though_a_retraining_is_out_of_reach(served: Any) -> None:
    served.answer(BEGIN, 500, hours=30)
    one = Steward(office(served), rules(triggers={"every_days": 1.0}))
    assert one.look(BEGIN + 40 * HOUR)
    assert kinds(served) == ["retrain"]
    (served.place / "work").write_text("no folder")
    served.challenge("2")
    served.answer(BEGIN + 40 * HOUR, 1000, champion=("1", 0.1), shadow=("2", 0.4))
    with pytest.raises(TrainingError, match="A retraining's folder can be read and written"):
        one.look(BEGIN + 46 * HOUR)
    assert kinds(served) == ["retrain", "canary"]


def test_each_record_is_weighed_once_however_long_before_its_moment_it_was_asked_for(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.crowned(BEGIN - 90 * HOUR)
    for hour in range(12):
        served.answer(BEGIN + hour * HOUR, 10, arrived=BEGIN + (hour - 48 * (hour % 2)) * HOUR)
    time = {"clock": policy.Clock.EVENT, "period_hours": 1, "grace_hours": 0.0, "label_wait_hours": 2.0}
    one, counted, take = Steward(office(served), rules(time=time)), [], labels.Coverage.take
    monkeypatch.setattr(labels.Coverage, "take", lambda self, rows: (counted.append(rows.height), take(self, rows)))
    look(served, 50, one=one)
    assert sum(counted) == 120 - 10, "the last hour is not over"


def test_nothing_to_watch_is_said(served: Any, caplog: pytest.LogCaptureFixture) -> None:
    one = Steward(replace(office(served), model="typo"), rules())
    assert not one.look() and not one.look()
    assert caplog.text.count("Nothing to watch: no version of typo is champion") == 1


def test_a_history_that_does_not_tell_of_the_champion_is_named(served: Any) -> None:
    (served.place / "registry" / MODEL / "aliases.json").write_text('{"format": 1, "aliases": {}, "history": []}')
    with pytest.raises(RegistryError, match="history tells when its champion became one"):
        look(served, 6)
