"""What every watch must do. A module of `tidemill.steward.watches` with a `build` is one, and is found here."""

import importlib
import itertools
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from reread import reread
from tidemill.composition import build, choices, keys
from tidemill.errors import SettingsError
from tidemill.settings import Objective
from tidemill.steward.snapshots import plain
from tidemill.steward.watch import Reading, Severity, Watch, Watched
from watched_rows import DAY, START, period, watched

CONF = Path(__file__).parents[2] / "src/tidemill/steward/policy.yaml"
WATCHES = {
    name: importlib.import_module(f"tidemill.steward.watches.{name}")
    for name in choices("tidemill.steward.watches", "build")
}
OBJECTIVES = (Objective.BINARY, Objective.REGRESSION)
WATCHED = {objective: watched(objective) for objective in OBJECTIVES}
DAYS, ROWS = 35, 400


@pytest.fixture(params=sorted(WATCHES))
def module(request: pytest.FixtureRequest) -> types.ModuleType:
    return WATCHES[request.param]


def conf(module: types.ModuleType) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load(CONF.read_text())["watches"][module.__name__.rpartition(".")[2]]
    return values


def made(module: types.ModuleType, given: Watched) -> Watch:
    watch: Watch = module.build(build(module.Settings, conf(module), "watches"), given)
    return watch


def fed(watch: Watch, day: int, rows: Sequence[pl.DataFrame]) -> list[Reading]:
    for part in rows:
        if part.height:
            watch.take(part)
    return list(watch.close(START + day * DAY, START + (day + 1) * DAY))


def days(objective: Objective, number: int, seed: int = 1) -> list[pl.DataFrame]:
    """Rows of the reference's own distribution."""
    rng = np.random.default_rng(seed)
    return [period(rng, int(rng.poisson(ROWS)), START + day * DAY, objective=objective) for day in range(number)]


def test_every_watch_has_its_settings_in_the_steward_s_file() -> None:
    assert set(WATCHES) <= set(yaml.safe_load(CONF.read_text())["watches"])
    assert len(WATCHES) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_rows_of_the_reference_raise_no_alarm(module: types.ModuleType, objective: Objective) -> None:
    watch = made(module, WATCHED[objective])
    for day, rows in enumerate(days(objective, DAYS)):
        for reading in fed(watch, day, [rows]):
            assert not reading.alarm, f"day {day}: {reading}"
            assert reading.since is None


def test_readings_say_what_a_person_needs(module: types.ModuleType) -> None:
    watch = made(module, WATCHED[Objective.BINARY])
    for day, rows in enumerate(days(Objective.BINARY, 3)):
        readings = fed(watch, day, [rows])
        assert len({(reading.check, reading.subject) for reading in readings}) == len(readings), "one of each"
        for reading in readings:
            assert reading.says.endswith(".") and reading.remedy and reading.unit and reading.check
            assert reading.severity in set(Severity)
            assert np.isfinite([reading.log_e, reading.log_threshold, reading.effect]).all()
            assert reading.log_e >= 0 and reading.log_threshold > 0


def test_its_state_outlives_json(module: types.ModuleType) -> None:
    rows = days(Objective.BINARY, 20)
    watch = made(module, WATCHED[Objective.BINARY])
    for day in range(12):
        fed(watch, day, [rows[day]])
    watch.take(rows[12][:100])  # in the middle of a period, too
    other = made(module, WATCHED[Objective.BINARY])
    other.state = reread(watch.state)
    assert plain(other.state) == plain(watch.state)
    rest = [rows[12][100:], *rows[13:]]
    for day, part in enumerate(rest, start=12):
        assert fed(other, day, [part]) == fed(watch, day, [part])


def test_chunks_do_not_matter(module: types.ModuleType) -> None:
    whole, parted = (made(module, WATCHED[Objective.BINARY]) for _ in range(2))
    for day, rows in enumerate(days(Objective.BINARY, 12)):
        cuts = [0, 1, 30, 30, rows.height]
        parts = [rows[begin:end] for begin, end in itertools.pairwise(cuts)]
        assert fed(parted, day, parts) == fed(whole, day, [rows])


def test_a_period_without_rows_is_no_error(module: types.ModuleType) -> None:
    watch = made(module, WATCHED[Objective.BINARY])
    rows = days(Objective.BINARY, 3)
    for day, parts in enumerate([[], [], [rows[0]], [], [rows[2]]]):
        assert isinstance(fed(watch, day, parts), list)


def test_inputs_that_could_not_be_read_are_no_error(module: types.ModuleType) -> None:
    watch = made(module, WATCHED[Objective.BINARY])
    for day, rows in enumerate(days(Objective.BINARY, 3)):
        half = pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.col("inputs")).alias("inputs")
        none = pl.lit(None).alias("inputs")
        assert fed(watch, day, [rows.with_columns(half if day else none)])


def test_absent_columns_are_no_error(module: types.ModuleType) -> None:
    watch = made(module, WATCHED[Objective.BINARY])
    for day, rows in enumerate(days(Objective.BINARY, 2)):
        few = rows["inputs"].struct.unnest().select("distance", other=pl.lit(1)).to_struct("inputs")
        assert fed(watch, day, [rows.with_columns(few)])


def test_every_setting_is_refused_by_its_key_when_out_of_range(module: types.ModuleType) -> None:
    for key in keys(module.Settings):
        assert key in conf(module), f"{key} has no value in {CONF.name}"
        with pytest.raises(SettingsError, match=rf"watches\.{key} = -1"):
            build(module.Settings, {**conf(module), key: -1}, "watches")
