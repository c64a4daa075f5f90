"""The policy: what is not set has its default, and what is wrong is refused by its key before anything is read."""

from pathlib import Path

import pytest
from served import MODEL, Served

from tidemill.errors import SettingsError
from tidemill.steward import losses, policy
from tidemill.steward.book import Book
from tidemill.steward.policy import Policy
from tidemill.steward.watching import watched_version, watches
from tidemill.steward.weighing import Weighing


def written(folder: Path, text: str) -> Policy:
    file = folder / "policy.yaml"
    file.write_text(text, encoding="utf-8")
    return policy.read(file)


def test_a_policy_has_only_what_it_changes(tmp_path: Path) -> None:
    default = policy.read(None)
    given = written(tmp_path, "time: {period_hours: 24}\nwatches: {drift: {days: 3}, joint_drift: null}\n")
    assert given.time.period_hours == 24
    assert given.time.label_wait_hours == default.time.label_wait_hours
    assert given.watches["drift"] == {**default.watches["drift"], "days": 3}
    assert "joint_drift" not in given.watches
    assert given.trial == default.trial
    assert written(tmp_path, "") == default


def test_the_default_loss_suits_a_model(tmp_path: Path) -> None:
    watched = watched_version(policy.read(None), Served(tmp_path).registry, MODEL, "1")
    assert watched.losses.name == losses.LOG_LOSS
    assert set(watched.profile) == {"inputs", "answers"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("time: {period_hours: 5}", "time.period_hours = 5: must be 1, 2, 3, 4, 6, 8, 12 or whole days of 24 hours"),
        ("time: {period_hours: 0}", "time.period_hours = 0: must be 1, 2, 3, 4, 6, 8, 12 or whole days of 24 hours"),
        (
            "time: {period_hours: -24}",
            "time.period_hours = -24: must be 1, 2, 3, 4, 6, 8, 12 or whole days of 24 hours",
        ),
        ("time: {period_hours: 0.5}", "time.period_hours = 0.5: must be a whole number, 1, 2, 3, 4, 6, 8, 12 or whole"),
        ("trial: {alpha: 5%}", "trial.alpha = '5%': must be a finite number, between 0 and 1, both excluded"),
        ("retrain: {hours: 0}", "retrain.hours = 0.0: must be greater than 0"),
        ("triggers: {backoff_days: 0}", "triggers.backoff_days = 0.0: must be greater than 0"),
        ("trial: {alfa: 0.1}", "trial.alfa = 0.1: no such key"),
        ("mode: acts", "mode = 'acts': must be one of observe, ask, act; did you mean act?"),
        ("trial: {canary: [0.5, 0.1]}", "trial.canary = [0.5, 0.1]: must grow from stage to stage"),
        ("trial: {canary: [1.5]}", "trial.canary[0] = 1.5: must be between 0 and 1"),
        ("trial: {looks: 11, maximum: 10, minimum: 0, canary: []}", "trial.looks = 11: must not be above maximum = 10"),
        ("trial: {looks: 4}", "trial.looks = 4: needs shadow alone (canary: []), a maximum"),
        ("trial: {canary: [], shadow: false}", "trial.canary = []: needs a stage"),
        ("trial: {superiority: false}", "trial.margin = 0.0: must be greater than 0 where superiority is false"),
        ("trial: {minimum: 10, maximum: 5}", "trial.maximum = 5: must not be below minimum = 10"),
        ("trial: {unit: period, gain: 0.05}", "trial.gain = 0.05: must be below reach = 0.05 where unit is period"),
        ("notify: {webhook: 'file:///tmp/x'}", "notify.webhook = 'file:///tmp/x': must be an http:// or https:// URL"),
        ("time: {label_wait_hours: 1.0e+12}", "label_wait_hours = 1000000000000.0: must be at most 876000"),
        ("time: {look_seconds: 1.0e+12}", "look_seconds = 1000000000000.0: must be at most 86400"),
        ("triggers: {cooldown_days: 1.0e+12}", "cooldown_days = 1000000000000.0: must be at most 36500"),
        ("retrain: {test_days: 1.0e+12}", "test_days = 1000000000000.0: must be at most 36500"),
        ("- a list", "a mapping was expected, not list"),
        ("trial: [", "policy.yaml: while parsing"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SettingsError) as refused:
        written(tmp_path, text)
    assert says in str(refused.value)
    assert "policy.yaml has all keys" in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"A policy is a YAML file that can be read.*nowhere\.yaml"):
        policy.read(tmp_path / "nowhere.yaml")


def test_a_watch_s_settings_are_checked_before_anything_is_weighed(tmp_path: Path) -> None:
    served = Served(tmp_path)
    for text, says in (
        ("watches: {drift: {dais: 3}}", "watches.drift.dais = 3: no such key"),
        ("watches: {weather: {}}", "use one of calibration, drift"),
    ):
        given = written(tmp_path, text)
        with pytest.raises(SettingsError) as refused:
            Weighing(given, served.ledger, MODEL, served.registry, Book(served.ledger, MODEL))
        assert says in str(refused.value)
    assert set(watches(policy.read(None))) == set(policy.read(None).watches)


@pytest.mark.parametrize(("column", "remedy"), [("cities", "did you mean city?"), ("x", "name one of id, moment")])
def test_a_guard_of_a_column_that_is_not_there_is_refused(tmp_path: Path, column: str, remedy: str) -> None:
    given = written(tmp_path, f"trial: {{slices: [{column}]}}")
    with pytest.raises(SettingsError, match="names columns of the model's table") as refused:
        watched_version(given, Served(tmp_path).registry, MODEL, "1")
    assert remedy in str(refused.value)
