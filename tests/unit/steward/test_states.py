"""Whatever a part of the steward remembers outlives a restart to the last bit: every stateful class is found here."""

import dataclasses
import importlib
import json
import pkgutil
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from served import HOUR, MODEL, NOW, Served

from reread import reread
from tidemill.bundle.manifest import Identity
from tidemill.composition import build, choices
from tidemill.errors import LedgerError
from tidemill.settings import Objective
from tidemill.steward import losses, policy
from tidemill.steward.evidence.paired import Question
from tidemill.steward.policy import Clock
from tidemill.steward.records import Records, Span
from tidemill.steward.snapshots import plain, restored
from tidemill.steward.trial import checked
from tidemill.steward.trial.checked import CheckedTrial
from tidemill.steward.trial.comparison import Comparison, Stage
from tidemill.steward.watch import Learner, Watch
from watched_rows import DAY, START, period, watched

BEGIN = NOW - timedelta(hours=40)
POLICY = policy.read(None)
WATCHES = choices("tidemill.steward.watches", "build")
TRIALS: dict[str, dict[str, Any]] = {
    "shadow": {},
    "canary": {},
    "probation": {},
    "a plan": {"looks": 4, "maximum": 4000, "canary": []},
}
NO_STATE = {"Settings", "TrialSettings", "Trial"}
"""Settings, and the trial, whose state is a part of its own."""


def made(name: str) -> Watch:
    module = importlib.import_module(f"tidemill.steward.watches.{name}")
    given = {**POLICY.watches[name], **({"slices": ["carrier", "night"]} if name == "performance" else {})}
    watch: Watch = module.build(build(module.Settings, given, "watches"), watched(Objective.BINARY))
    return watch


def days(number: int) -> list[Any]:
    rng = np.random.default_rng(1)
    return [period(rng, 400, START + day * DAY, objective=Objective.BINARY) for day in range(number)]


def fed(watch: Watch, day: int, rows: Any) -> list[Any]:
    watch.take(rows)
    if isinstance(watch, Learner):
        watch.learn(rows)
    return list(watch.close(START + day * DAY, START + (day + 1) * DAY))


@pytest.mark.slow
@pytest.mark.parametrize("name", WATCHES)
def test_a_watch_that_is_restored_after_each_period_says_the_same_as_one_that_never_stopped(name: str) -> None:
    whole, stopped = made(name), made(name)
    for day, rows in enumerate(days(24)):
        stopped.take(rows[:150])
        again = made(name)
        again.state = reread(stopped.state)
        stopped = again
        whole.take(rows[:150])
        assert fed(stopped, day, rows[150:]) == fed(whole, day, rows[150:])
    assert plain(stopped.state) == plain(whole.state)


@pytest.fixture
def served(tmp_path: Any) -> Served:
    return Served(tmp_path)


def trial(stage: Stage, **changes: Any) -> CheckedTrial:
    rules = dataclasses.replace(POLICY.trial, **{"minimum": 0, "slices": ["city"], **changes})
    identity = Identity(model=MODEL, version="1", created="", objective=Objective.BINARY, classes=["no", "yes"])
    share = 0.5 if stage is Stage.CANARY else 0.0
    comparison = Comparison(stage=stage, tried="2", other="1", share=share)
    return CheckedTrial(rules, POLICY.labels, comparison, losses.make(POLICY.losses, identity))


def trials(served: Served, name: str) -> Iterator[tuple[CheckedTrial, CheckedTrial]]:
    """The same trial twice after each period: undisturbed, and restored in its middle."""
    stage = Stage(name) if name in set(Stage) else Stage.SHADOW
    whole, stopped = (trial(stage, **TRIALS[name]) for _ in range(2))
    records = Records(served.ledger, MODEL, Clock.ARRIVAL, None)
    for hour in range(4):
        begin = BEGIN + hour * HOUR
        canary = ("2", 0.3, 0.5) if stage is Stage.CANARY else None
        shadow = None if canary else ("2", 0.3) if stage is Stage.SHADOW else ("1", 0.3)
        champion = ("2" if stage is Stage.PROBATION else "1", 0.2)
        for client in ("app", "shop"):
            served.answer(begin, 200, champion=champion, shadow=shadow, canary=canary, client=client)
        for piece in records.labelled(Span(begin=begin, end=begin + HOUR, since=begin), NOW + timedelta(days=9)):
            for part in (piece[:170], piece[170:]):
                beside = records.shadows(part, "1" if stage is Stage.PROBATION else "2")
                again = trial(stage, **TRIALS[name])
                again.state = reread(stopped.state)
                stopped = again
                for each in (whole, stopped):
                    each.take(part, beside)
        for each in (whole, stopped):
            each.close()
        yield whole, stopped


@pytest.mark.parametrize("name", list(TRIALS))
def test_a_trial_that_is_restored_between_any_two_pieces_is_the_same(served: Served, name: str) -> None:
    for whole, stopped in trials(served, name):
        assert (stopped.figures(), stopped.readings()) == (whole.figures(), whole.readings())
        assert plain(stopped.state) == plain(whole.state)
    assert whole.taken == 1600 and whole.verdict() == stopped.verdict()


def _stateful() -> set[str]:
    """Every class of a watch, a trial or their evidence whose objects change."""
    found = set()
    for package in ("evidence", "watches", "trial"):
        room = importlib.import_module(f"tidemill.steward.{package}")
        for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            for name, kind in vars(importlib.import_module(module.name)).items():
                own = isinstance(kind, type) and kind.__module__ == module.name and dataclasses.is_dataclass(kind)
                if own and not kind.__dataclass_params__.frozen and name not in NO_STATE:
                    found.add(f"{kind.__module__}.{name}")
    return found


def _met(value: Any) -> Iterator[str]:
    if dataclasses.is_dataclass(value):
        yield f"{type(value).__module__}.{type(value).__name__}"
        for each in dataclasses.fields(value):
            yield from _met(getattr(value, each.name))
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _met(each)


@pytest.mark.slow
def test_no_class_that_remembers_something_is_left_out(served: Served) -> None:
    met: set[str] = set()
    for name in WATCHES:
        watch = made(name)
        for day, rows in enumerate(days(2)):
            fed(watch, day, rows)
            watch.take(pl.concat([rows] * 50))  # more than a block
            met |= set(_met(watch.state))
    for name in TRIALS:
        for whole, _ in trials(served, name):
            met |= {*_met(whole.state), *_met(whole.carried())}
    assert _stateful() - met == set()
    assert len(met) > 15


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state["whole"].pop("seen"), r"fields \['seen'\] differ at \$\.whole"),
        (lambda state: state["whole"].update(pears=1), r"fields \['pears'\] differ at \$\.whole"),
        (lambda state: state.update(labelled="many"), r"Expected `int`, got `str` - at `\$\.labelled`"),
        (lambda state: state["whole"]["bounds"].update(lower=["<f8", [2], "AAAA"]), "decompress"),
    ],
)
def test_a_state_of_another_form_is_refused_by_the_field(change: Any, said: str) -> None:
    state = json.loads(json.dumps(plain(trial(Stage.SHADOW).state)))
    restored(checked.State, state)
    change(state)
    with pytest.raises(LedgerError, match=f"has the form of this release.*{said}.*delete steward/state.json"):
        restored(checked.State, state)


def test_what_a_book_of_an_earlier_release_carries_goes_on() -> None:
    """As releases before this one wrote it into the evidence of a canary's decision."""
    test = {"low": -1.0, "high": 1.0, "carried": 0.0, "count": 900, "growth": [0.5, 1.0, 2.0, 1.0, 0.5, 0.25]}
    better = {"mean": 0.0, "rises": False, "highest": 1.5, **test}
    worse = {"mean": 0.0, "rises": True, "highest": 0.0, **test}
    whole = {
        "evidence": {"reach": 1.0, "earlier": 100, "tests": {"better": better, "worse": worse}},
        "centre": 0.25,
        "earlier": 100,
        "taken": 900,
        "plain": [-90.0, 1000.0],
        "asks": ["log_loss", 0.0, 4.605170185988091, 0.0],
        "shares": [0.0, 0.05],
    }
    stored = json.loads(json.dumps({**whole, "without": {"0": whole}, "groups": {"app": "0"}}))
    carried = restored(checked.Carried, stored, strict=False)
    following = carried.evidence.next_stage(question=Question(), reach=4.0)
    assert following.count == 1000 and carried.without["0"].taken == 900
    assert following.log_e["better"] == carried.evidence.log_e["better"] > 0
    assert following.log_e["worse"] == pytest.approx(0.0)
