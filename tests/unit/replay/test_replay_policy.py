"""The policy of a replay: ours, fitted to the table, with the user's over it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from tidemill.data.labels.maturity import Maturity
from tidemill.errors import SettingsError
from tidemill.replay.policy import fitted
from tidemill.replay.table.window import TimeWindow


def stretch(days: float, per_day: float, lag: timedelta) -> TimeWindow:
    since = datetime(2026, 1, 1, tzinfo=UTC)
    found = Maturity(age=lag, share=0.95)
    return TimeWindow(since=since, until=None, last=since + timedelta(days=days), per_day=per_day, maturity=found)


FLIGHTS = stretch(275, 900, timedelta(hours=8))


def test_the_users_goes_over_ours(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "mode: observe\ntime: {period_hours: 6, clock: arrival}\nretrain: {command: [a, b], threads: 1}\n"
    )
    words = ["train.py", "+experiment=flights"]
    whole = fitted(tmp_path / "mine.yaml", words, FLIGHTS, None, tmp_path / "policy.yaml")
    found = yaml.safe_load((tmp_path / "policy.yaml").read_text())
    assert found["time"]["period_hours"] == 6 and found["time"]["clock"] == "event" and found["mode"] == "observe"
    assert found["retrain"]["command"][1:4] == ["train.py", "+experiment=flights", "evaluation.baselines=[]"]
    assert whole.retrain.threads == 1, "but the whole table is none to train on"
    assert (str(whole.mode), whole.time.period_hours, whole.time.grace_hours) == ("observe", 6, 0.0)


def test_it_fits_the_table(tmp_path: Path) -> None:
    year = fitted(None, ["train.py", "a"], FLIGHTS, None, tmp_path / "year.yaml")
    trial = year.trial
    assert (trial.minimum, trial.maximum, trial.stage_minimum, trial.probation) == (5000, 45_000, 1000, 15_000)
    assert (year.time.label_wait_hours, year.triggers.every_days, year.triggers.cooldown_days) == (48.0, 30.0, 14.0)
    shop = stretch(40, 3, timedelta(days=4, hours=1))
    small = fitted(None, ["train.py", "a"], shop, 12.3456, tmp_path / "shop.yaml")
    assert (small.trial.minimum, small.trial.maximum, small.trial.stage_minimum) == (17, 60, 3)
    assert (small.time.label_wait_hours, small.triggers.every_days, small.triggers.cooldown_days) == (144.0, 13.0, 6.5)
    assert small.losses.scale == 37.0, "three deviations of a regression's labels"


def test_what_is_no_policy(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("trial: {minimun: 3}")
    with pytest.raises(SettingsError, match=r"trial\.minimun.*did you mean trial\.minimum"):
        fitted(tmp_path / "mine.yaml", ["train.py", "a"], FLIGHTS, None, tmp_path / "policy.yaml")
    for text in ("mode: [", "- mode"):
        (tmp_path / "mine.yaml").write_text(text)
        with pytest.raises(SettingsError, match="--policy names a YAML file"):
            fitted(tmp_path / "mine.yaml", [], FLIGHTS, None, tmp_path / "policy.yaml")
    with pytest.raises(SettingsError, match="--policy names a YAML file"):
        fitted(tmp_path / "none.yaml", [], FLIGHTS, None, tmp_path / "policy.yaml")
