"""The words of a retraining's command, read as Hydra reads them; and what is refused before any work."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from retraining_parts import settings

from tidemill.data.schema import Column, Role, Schema
from tidemill.errors import QualityError, SettingsError
from tidemill.settings import Kind, addable, from_config
from tidemill.steward.evidence.power import Need
from tidemill.steward.retraining import command
from tidemill.steward.retraining.command import Trained
from tidemill.steward.retraining.export import Records

CONF = Path(__file__).parents[4] / "conf"
NEWEST = datetime(2013, 6, 30, 12, 0, 0, 500, tzinfo=UTC)
TIMED = Schema(
    columns=(
        Column(name="at", kind=Kind.TIMESTAMP, role=Role.TIME),
        Column(name="y", kind=Kind.BOOLEAN, role=Role.TARGET),
    )
)


def words(run: Path = Path("/runs/it's here, {now}=1/run"), data: Any = None, **changes: Any) -> list[str]:
    data = data or {"source": "flights", "options": {"origin_delay": False}, "weight": None}
    return command.words(
        settings(**changes),
        Trained(
            model="flights",
            schema=TIMED,
            data=data,
            run="/runs/first",
            until=NEWEST,
            known_before=NEWEST + timedelta(days=3),
        ),
        records=Path("/runs/records.parquet"),
        splits=command.windows(settings(**changes), [NEWEST], None),
        run=run,
        registry="s3://bucket/registry",
    )


def composed(found: list[str]) -> Any:
    from omegaconf import OmegaConf

    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [addable(word) for word in found[2:]], return_hydra_config=True)
        plain: Any = OmegaConf.to_container(config, resolve=False)
        folder = plain.pop("hydra")["run"]["dir"]
        return from_config(plain), folder


def test_hydra_reads_what_was_meant() -> None:
    found, folder = composed(words())
    assert folder == "/runs/it's here, {now}=1/run"
    data = found.data
    assert (data.source, data.target, data.time) == ("production", "disrupted", "scheduled_departure")
    assert data.options == {
        "origin_delay": False,
        "base": "flights",
        "records": "/runs/records.parquet",
        "window_days": None,
        "half_life_days": None,
    }
    assert data.split.validation_from == "2013-06-09T12:00:01+00:00"
    assert data.split.test_from == "2013-06-23T12:00:01+00:00"
    assert (found.registry.path, found.registry.promote) == ("s3://bucket/registry", False)
    assert (found.name, found.training.threads, found.training.warm_start) == ("flights", 1, "/runs/first")


def test_history_decides_what_is_learned_from() -> None:
    window = composed(words(history="window", window_days=90, half_life_days=3))[0].data
    assert (window.options["window_days"], window.options["half_life_days"], window.weight) == (90, None, None)
    aged = composed(words(history="aged", half_life_days=30))[0].data
    assert (aged.options["half_life_days"], aged.weight) == (30, "age_weight")
    own = words(data={"source": "files", "options": {}, "weight": "w"}, history="aged", half_life_days=30)
    assert not [word for word in own if word.startswith("data.weight")], "the table's own weights are multiplied"


def test_the_base_table_stays_the_one_of_the_champion() -> None:
    again = {"source": "production", "options": {"base": "flights", "until": "2013-04-01"}, "weight": None}
    assert {"data.options.base='flights'", "data.options.until='2013-04-01'"} <= set(words(data=again))
    said = ["python", "train.py", "+experiment=flights", "data.options.base=sql", "++data.options.until=2013-02-01"]
    assert not [word for word in words(data=again, command=said) if word.startswith("data.options.until='")]


def test_a_base_whose_labels_come_late_is_read_as_things_stand_now() -> None:
    options = {"base": "files", "until": "2013-04-01", "label_time": "known", "labels_before": "2013-04-09"}
    found = words(data={"source": "production", "options": options, "weight": None})
    assert {"data.options.label_time='known'", "data.options.until='2013-06-30T12:00:01+00:00'"} <= set(found)
    assert "data.options.labels_before='2013-07-03T12:00:01+00:00'" in found
    told = ["python", "train.py", "data.options.label_time=known", "data.options.until=2013-02-01"]
    found = words(data={"source": "files", "options": {}, "weight": None}, command=told)
    assert found.index("data.options.until='2013-06-30T12:00:01+00:00'") > 3, "the last word counts"


NEED = Need(rows=100, loss=0.5, margin=0.05, level=0.95, spread=0.2)


def moments(number: int, hours: float = 1.0) -> list[datetime]:
    return [NEWEST - timedelta(hours=hours * one) for one in range(number)]


def test_splits_are_long_enough_for_the_gate_to_decide() -> None:
    daily = command.windows(settings(), moments(500, 24), NEED)
    assert daily.test_from == NEWEST - timedelta(days=99), "7 days would have 8 rows"
    assert daily.validation_from == NEWEST - timedelta(days=149), "half as many"
    hourly = command.windows(settings(), moments(500), NEED)
    assert hourly.test_from == NEWEST - timedelta(days=7) and hourly == command.windows(settings(), moments(500), None)
    with pytest.raises(QualityError, match=r"cannot be decided.*149 labelled.*needs 100 test rows.*gate\.margin"):
        command.windows(settings(), moments(149), NEED)
    window = settings(history="window", window_days=120)
    with pytest.raises(QualityError, match=r"records to learn from.*retrain\.window_days=120"):
        command.windows(window, moments(500, 24), NEED)


def test_a_cold_start_is_asked_for_or_all_there_is() -> None:
    assert "training.warm_start='/runs/first'" in words()
    assert not [word for word in words(warm_start=False) if "warm_start" in word]


def records(rows: int = 100, varied: bool = True) -> Records:
    return Records(rows=rows, varied=varied, before=NEWEST)


def test_hopeless_retrainings_are_refused_before_any_work() -> None:
    command.check(records(), settings(), TIMED)
    with pytest.raises(QualityError, match=r"Got: 0, and retrain.min_records=10. Remedy: wait for labels"):
        command.check(records(0), settings(), TIMED)
    with pytest.raises(QualityError, match=r"same label 100 times"):
        command.check(records(varied=False), settings(), TIMED)
    with pytest.raises(SettingsError, match=r"no such column. Remedy: train a champion with data.time"):
        command.check(records(), settings(), Schema(columns=TIMED.columns[1:]))
    numbered = Schema(columns=(Column(name="at", kind=Kind.NUMERIC, role=Role.TIME),))
    with pytest.raises(SettingsError, match=r"'at' is numeric"):
        command.check(records(), settings(), numbered)


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"history": "window"}, "retrain.window_days = None: must be set for history=window"),
        ({"history": "aged"}, "retrain.half_life_days = None: must be set"),
        ({"history": "window", "window_days": 20}, "must be more than validation_days + test_days = 21"),
        ({"command": ["train"]}, "retrain.command"),
        ({"attempts": 0}, "retrain.attempts"),
        ({"runner": "rey"}, "did you mean ray"),
    ],
)
def test_settings_that_do_not_fit_are_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(**changes)
    assert said in str(caught.value)
