"""`tidemill steward` as people use it: one look, how things stand, approvals, and where its options may stand."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from looking import BEGIN, kinds, look, rules
from served import HOUR, MODEL, NOW, Served

from tidemill import cli
from tidemill.steward.policy import Authority

pytestmark = pytest.mark.slow  # whole looks at a real ledger, with retrainings in processes of their own


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    return Served(tmp_path)


def where(served: Any, model: Any = MODEL) -> Any:
    return ["--model", model, "--registry", str(served.place / "registry"), "--ledger", str(served.place / "ledger")]


def approve(served: Any, number: Any) -> Any:
    return cli.main(["steward", "approve", str(number), *where(served)])


def test_one_look_tells_how_things_stand_and_what_was_decided(served: Any, capsys: pytest.CaptureFixture[str]) -> None:
    served.crowned(NOW - 60 * HOUR)
    served.challenge("2")
    served.answer(NOW - 50 * HOUR, 2000, hours=50, champion=("1", 0.1), shadow=("2", 0.4), labelled=0.2)
    served.crowned(NOW - 60 * HOUR)
    (served.place / "policy.yaml").write_text(
        "mode: ask\ntrial: {minimum: 100, canary: []}\nwatches: {quality: null, drift: null}\n"
    )
    once = ["--once", "--policy", str(served.place / "policy.yaml"), "--work", str(served.place / "work")]
    assert cli.main(["steward", *where(served), *once]) == 0
    told = capsys.readouterr().out
    assert "m: version 1 is champion, challenger 2.\nStage: shadow, version 2 against 1, " in told
    assert "Alarms that stand: 1.\n  ADVICE: " in told and "What to do: send labels to /feedback sooner" in told
    assert f"in {served.place}/ledger/m/steward/status.json" in told
    assert "promote (proposed)" in told.partition("Decided in this look:")[2]
    assert cli.main(["steward", *where(served), *once]) == 0
    assert "Nothing was decided in this look." in capsys.readouterr().out

    assert cli.main(["steward", *where(served), "status"]) == 0
    told = capsys.readouterr().out
    assert "Decision 1 waits for your word (promote): It is shown to be better" in told
    assert "tidemill steward approve 1 --model m" in told
    lines = [" ".join(line.split()) for line in told.splitlines()]
    assert any(line.startswith("ADVICE labels 1.0 of 1.0 0.") for line in lines)
    assert any(line.startswith("NEWS trial better 2 against 1, shadow") for line in lines)
    assert any(" 0.0 of " in line for line in lines), "others are shown beside alarms"

    assert cli.main(["steward", "status", "--json", *where(served)]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert (whole["status"]["champion"], whole["waiting"]) == ("1", [1])
    assert whole["readings"][0]["check"] == "labels" and whole["readings"][0]["remedy"]


@pytest.mark.parametrize("words", [["status"], ["decisions"], ["metrics"], ["--once"]])
def test_a_ledger_in_an_object_store_needs_no_folder_of_segments(
    served: Any, capsys: pytest.CaptureFixture[str], words: Any
) -> None:
    """Segments are the server's; `memory` stands for any store (here each look finds it empty)."""
    about = ["--model", MODEL, "--registry", str(served.place / "registry"), "--ledger", f"memory:///{words[0]}"]
    once = ["--work", str(served.place / "work")] if words == ["--once"] else []
    assert cli.main(["steward", *words, *about, *once]) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert any(text in said for text in ("No steward has watched m yet", "Nothing was decided", "No labelled", "Watch"))


@pytest.mark.parametrize("words", [["status"], ["--once"]])
@pytest.mark.parametrize(
    ("flag", "error", "name"), [("--ledger", "LedgerError", "ledger"), ("--registry", "RegistryError", "registry")]
)
def test_what_is_out_of_reach_is_named(
    served: Any, capsys: pytest.CaptureFixture[str], words: Any, flag: Any, error: Any, name: Any
) -> None:
    places = {"--registry": str(served.place / "registry"), "--ledger": str(served.ledger.path)}
    places |= {"--model": MODEL, flag: "nowhere://bucket/there"}
    work = ["--work", str(served.place / "work")] if words == ["--once"] else []
    assert cli.main(["steward", *words, *(word for pair in places.items() for word in pair), *work]) == 1
    said = capsys.readouterr().err
    assert f"{error}: The {name} can be reached, read and written. Got: nowhere://bucket" in said
    assert f"free space; the {name} is as it was before" in said


def test_the_status_of_what_nobody_watches_says_so(served: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["steward", "status", *where(served)]) == 0
    told = capsys.readouterr().out
    assert "No steward has watched m yet: nothing is weighed" in told
    assert "There are no answers in" in told and "tidemill serve --model m --registry" in told
    assert not (served.place / "ledger").exists()
    served.answer(NOW - 3 * HOUR, 5)
    assert cli.main(["steward", "status", *where(served)]) == 0
    told = capsys.readouterr().out
    assert "Its ledger has 5 answers, the last of " in told and "\n  tidemill steward --model m --registry" in told
    assert cli.main(["steward", "status", *where(served, "other")]) == 1
    assert "Got: other/champion" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["steward", "status"], "required: --model"),
        (["steward"], "required: --model"),
        (["steward", "--model", "m", "--once", "approve", "3"], "--once says nothing about this action"),
        (["steward", "--policy", "p.yaml", "decisions", "--model", "m"], "--policy says nothing about this action"),
        (["steward", "--work", "w", "metrics", "--model", "m"], "--work says nothing about this action"),
    ],
)
def test_options_that_are_missing_or_say_nothing_are_refused(
    capsys: pytest.CaptureFixture[str], words: Any, says: Any
) -> None:
    with pytest.raises(SystemExit):
        cli.main(words)
    assert says in capsys.readouterr().err


def test_options_may_stand_on_either_side_of_the_action(served: Any) -> None:
    before, after = ["steward", *where(served), "decisions"], ["steward", "decisions", *where(served)]
    parsed, other = (vars(cli._parser().parse_args(words)) for words in (before, after))
    assert all(parsed[name] == other[name] for name in parsed.keys() - {"wrong"})
    assert parsed["ledger"] == str(served.place / "ledger")
    assert cli._parser().parse_args(["steward", "--model", "a", "status", "--model", "b"]).model == "b"


def test_it_asks_and_does_what_was_approved(served: Any, capsys: pytest.CaptureFixture[str]) -> None:
    served.challenge("2")
    served.answer(BEGIN, 1000, champion=("1", 0.1), shadow=("2", 0.4))
    asking = rules(Authority.ASK, trial={"canary": []})
    look(served, 6, asking)
    assert served.registry.desired(MODEL).champion == "1"
    about = ["--model", MODEL, "--registry", str(served.place / "registry"), "--ledger", str(served.place / "ledger")]
    assert cli.main(["steward", "approve", "2", *about]) == 1
    assert "decision 2, which there is not" in capsys.readouterr().err
    assert cli.main(["steward", *about, "approve", "1"]) == 0
    look(served, 6, asking)
    assert served.registry.desired(MODEL).champion == "2"
    assert cli.main(["steward", "approve", "1", *about]) == 1
    assert "decision 1, which" in (told := capsys.readouterr().err) and "approved on 20" in told
    assert cli.main(["steward", "decisions", *about]) == 0
    told = capsys.readouterr().out
    assert "promote (proposed)" in told
    assert "approve" in told


def test_a_retraining_is_approved_once_and_nothing_else_is_proposed_while_its_model_waits(
    served: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    served.answer(BEGIN, 500, hours=30)
    asking = rules(Authority.ASK, triggers={"every_days": 1.0, "cooldown_days": 0.0})
    look(served, 40, asking)
    assert kinds(served) == ["retrain"]
    assert approve(served, 1) == 0
    assert approve(served, 1) == 1
    assert "decision 1, which" in (told := capsys.readouterr().err) and "those that wait: none" in told
    look(served, 40, asking)
    assert kinds(served) == ["retrain", "approve", "shadow"]
    served.answer(BEGIN + 40 * HOUR, 500, hours=30)
    look(served, 80, asking)
    assert kinds(served) == ["retrain", "approve", "shadow"], "the model that waits comes first"
    assert approve(served, 3) == 0
    look(served, 80, asking)
    assert served.registry.desired(MODEL).challenger == "4"
    assert approve(served, 2) == 1
    assert "decision 2, which does not wait: it needed nobody's word" in capsys.readouterr().err


def test_what_was_proposed_for_an_earlier_state_is_not_approved(
    served: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    served.challenge("2")
    served.answer(BEGIN, 1000, champion=("1", 0.1), shadow=("2", 0.4))
    look(served, 6, rules(Authority.ASK, trial={"canary": []}))
    served.registry.promote(MODEL, "3", by="ann", reason="better than all")
    assert approve(served, 1) == 1
    assert "decision 1, which was made for an earlier state" in capsys.readouterr().err


def test_what_was_only_proposed_does_not_keep_an_acting_steward_from_it(served: Any) -> None:
    served.challenge("2")
    served.answer(BEGIN, 1000, champion=("1", 0.1), shadow=("2", 0.4))
    look(served, 6, rules(Authority.OBSERVE, trial={"canary": []}))
    assert served.registry.desired(MODEL).champion == "1"
    look(served, 6, rules(trial={"canary": []}))
    assert served.registry.desired(MODEL).champion == "2"


def test_a_steward_that_observes_carries_nothing_out(served: Any, capsys: pytest.CaptureFixture[str]) -> None:
    served.challenge("2")
    served.answer(BEGIN, 1000, champion=("1", 0.1), shadow=("2", 0.4))
    observing = rules(Authority.OBSERVE, trial={"canary": []})
    look(served, 6, observing)
    assert approve(served, 1) == 1
    assert "A steward that observes carries nothing out" in capsys.readouterr().err
    look(served, 6, rules(Authority.ASK, trial={"canary": []}))
    assert approve(served, 1) == 0
    look(served, 6, observing)
    assert served.registry.desired(MODEL).champion == "1", "approved, but it observes"
    look(served, 6, rules(Authority.ASK, trial={"canary": []}))
    assert served.registry.desired(MODEL).champion == "2"


def test_only_the_newest_proposal_can_be_approved(served: Any, capsys: pytest.CaptureFixture[str]) -> None:
    served.challenge("2")
    served.answer(BEGIN, 1000, champion=("1", 0.1), shadow=("2", 0.4))
    asking = rules(Authority.ASK)
    look(served, 6, asking)
    served.answer(BEGIN + 6 * HOUR, 9000, champion=("1", 0.4), shadow=("2", 0.05))
    look(served, 12, asking)
    assert kinds(served) == ["canary", "drop"]
    assert approve(served, 1) == 1
    assert "those that wait: 2" in capsys.readouterr().err
    assert approve(served, 2) == 0
