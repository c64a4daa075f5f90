"""Performance: silent while the loss is what it was, and naming where and since when it rose."""

from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from live_rows import BEGIN, LOSS, fed, metric, rows, watched

from reread import reread
from tidemill.composition import build as checked
from tidemill.errors import SettingsError
from tidemill.steward.watch import Severity
from tidemill.steward.watches.performance import Performance, Settings, build

SETTINGS = {
    "alpha": 0.05,
    "baseline": "bundle",
    "tolerance": 0.05,
    "half": 5000,
    "burn_in": 500,
    "slices": ["city", "wind", "rain", "crew"],
    "most": 5,
    "bins": 3,
}


def watch(upper: float | None = LOSS, known: list[dict[str, Any]] | None = None, **settings: Any) -> Performance:
    return build(checked(Settings, {**SETTINGS, **settings}), watched(upper, known))


def periods(*wrong: float, number: int = 1000, **more: Any) -> list[pl.DataFrame]:
    return [
        rows(number, seed=index, begin=BEGIN + index * timedelta(seconds=10_000), wrong=by, **more)
        for index, by in enumerate(wrong)
    ]


@pytest.mark.parametrize("upper", [LOSS, None])
def test_nothing_is_said_while_nothing_changes(upper: float | None) -> None:
    readings = fed(watch(upper), periods(*[0.0] * 8))
    assert not any(reading.alarm for period in readings for reading in period)
    assert [reading.subject for reading in readings[0]] == [
        "",
        *(f"city={name}" for name in ("JFK", "LGA", "EWR")),
        *(f"wind={name}" for name in ("missing", *(r.subject[5:] for r in readings[0][5:8]))),
        "rain=false",
        "rain=true",
        "crew=a",
        "crew=b",
    ]
    assert all(reading.severity is Severity.HARM for reading in readings[0])
    first = readings[0][0]
    assert first.log_threshold == pytest.approx(-np.log(0.05 / 2))
    slots = (3 + 2) + (3 + 2) + (2 + 2) + (5 + 2)  # each column's values, then other and missing
    assert {round(reading.log_threshold, 9) for reading in readings[0][1:]} == {round(-np.log(0.05 / 2 / slots), 9)}
    assert abs(first.effect) < 0.05 and first.unit == "log_loss" and first.since is None
    if upper:
        assert "what the bundle allows 0.3685, 1,000 rows" in first.says and " to " in first.says


@pytest.mark.parametrize("upper", [LOSS, None])
def test_a_rise_is_named_with_its_size_and_beginning(upper: float | None) -> None:
    last = fed(watch(upper, slices=[]), periods(0, 0, 0, 1.5, 1.5, 1.5))[-1][0]
    assert last.alarm and last.subject == ""
    change = BEGIN + 3 * timedelta(seconds=10_000)
    assert last.since is not None and abs(last.since - change) < timedelta(seconds=3_000)
    assert 0.15 < last.effect < 0.6
    assert f"about {last.since:%Y-%m-%d %H:%M} UTC" in last.says


def test_the_slice_that_rose_is_named_and_others_are_not() -> None:
    last = fed(watch(None, burn_in=100), periods(0, 0, 0, 0, 2.0, 2.0, 2.0, wrong_where="EWR"))[-1]
    named = {reading.subject for reading in last if reading.alarm}
    assert "city=EWR" in named and not named & {"city=JFK", "city=LGA"}
    assert "where city=EWR rose to" in next(reading.says for reading in last if reading.subject == "city=EWR")


def test_a_slice_is_held_to_what_the_bundle_says_of_it() -> None:
    strict = [{"column": "city", "value": "LGA", "rows": 500, "metrics": [metric("log_loss", 0.1, 0.09, 0.11)]}]
    last = fed(watch(known=strict), periods(0, 0, 0))[-1]
    assert [reading.subject for reading in last if reading.alarm] == ["city=LGA"]


def test_parts_and_json_make_no_difference() -> None:
    given = periods(0, 0, 0, 1.5, number=300)
    given.insert(2, given[0].clear())
    whole = fed(watch(burn_in=100), given)
    assert whole == fed(watch(burn_in=100), given, parts=7) == fed(watch(burn_in=100), given, parts=2, keep=True)
    assert whole[2][0].says == "no labels in this period."
    assert any(reading.log_e > 1 for reading in whole[-1])


def test_labels_of_unknown_classes_and_unreadable_inputs_are_counted() -> None:
    given = rows(100, seed=1)
    odd = given.with_columns(
        true_label=pl.when(pl.int_range(100) < 3).then(pl.lit("cancelled")).otherwise("true_label"),
        inputs=pl.when(pl.int_range(100) >= 50).then("inputs"),
    )
    followed = watch(None, slices=["city"])
    followed.take(odd)
    found = followed.close(BEGIN, BEGIN)
    assert found[0].says.endswith("3 labels are none of the model's classes.")
    assert sum(int(reading.says.split(", ")[-1].split()[0]) for reading in found[1:]) == 50
    followed.take(given.with_columns(inputs=pl.struct(other=pl.lit(1))))
    assert all("no labels" in reading.says for reading in followed.close(BEGIN, BEGIN)[1:])


def test_categories_beyond_the_most_are_one_slice_and_state_holds_those_that_were_found() -> None:
    given = rows(300, seed=2).with_columns(
        pl.col("inputs").struct.with_fields(crew=pl.concat_str(pl.lit("c"), pl.int_range(300) % 9))
    )
    followed = watch(None, slices=["crew"])
    followed.take(given)
    names = [reading.subject for reading in followed.close(BEGIN, BEGIN)]
    assert names == ["", "crew=other", *(f"crew=c{number}" for number in range(5))]
    again = watch(None, slices=["crew"])
    again.state = reread(followed.state)
    again.take(given.reverse())
    assert [reading.subject for reading in again.close(BEGIN, BEGIN)] == names


@pytest.mark.slow
def test_no_more_false_alarms_than_stated() -> None:
    alarms = 0
    for seed in range(40):
        followed = watch(None, alpha=0.2, slices=["city"], half=800, burn_in=100)
        alarm = False
        for part in range(4):
            followed.take(rows(300, seed=1000 * seed + part))
            alarm |= any(reading.alarm for reading in followed.close(BEGIN, BEGIN))
        alarms += alarm
    assert alarms <= 0.2 * 40


def test_columns_that_cannot_be_cut_are_named() -> None:
    with pytest.raises(SettingsError, match=r"watches.performance.slices names .*'cty', no column.*mean city\?"):
        watch(slices=["cty"])
    with pytest.raises(SettingsError, match=r"'nowhere', no column of the schema\. Remedy: correct watches.perf"):
        watch(slices=["nowhere"])
    followed = watched()
    del followed.profile["inputs"]["columns"]["wind"]
    with pytest.raises(SettingsError, match=r"'wind', numeric and not in the profile"):
        build(checked(Settings, {**SETTINGS, "slices": ["wind"]}), followed)


def test_numbers_are_cut_where_the_profiles_rows_lie() -> None:
    followed = watch(None, slices=["wind"], bins=4)
    followed.take(rows(4000, seed=3))
    found = {
        reading.subject: int(reading.says.split(", ")[-1].split()[0].replace(",", ""))
        for reading in followed.close(BEGIN, BEGIN)[1:]
    }
    assert len(found) == 5 and found.pop("wind=missing") == 4000 // 31 + 1
    assert all(abs(number - 968) < 160 for number in found.values()), found
    assert np.sum([*found.values()]) == 4000 - 130
