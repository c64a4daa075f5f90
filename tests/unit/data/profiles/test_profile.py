import json
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from checked_tables import schema_of

from tidemill.data.profiles.profile import BINS, cells, merge, profile, profile_answers, profile_like, unseen
from tidemill.data.schema import Column, Role, Schema
from tidemill.errors import SchemaError
from tidemill.settings import Kind

GENERATOR = np.random.default_rng(0)
DAY = datetime(2013, 1, 1, tzinfo=UTC)


def table(n: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "number": GENERATOR.normal(size=n),
            "often_zero": np.where(GENERATOR.random(n) < 0.8, 0.0, GENERATOR.random(n)),
            "city": GENERATOR.integers(0, 300, n).astype(str),
            "paid": GENERATOR.random(n) < 0.2,
            "seen": pl.Series([DAY + timedelta(hours=i) for i in range(n)], dtype=pl.Datetime("us", "UTC")),
            "key": np.arange(n).astype(str),
            "y": GENERATOR.choice(["a", "b"], n),
        }
    )


TRAIN = table(5_000)
SCHEMA = schema_of(TRAIN, y=Role.TARGET, key=Role.KEY)


def total(entry: dict[str, object]) -> object:
    if entry["kind"] == "categorical":
        return sum(entry["categories"].values()) + entry["other"] + entry["missing"]  # type: ignore[attr-defined,operator]
    if entry["kind"] == "boolean":
        return entry["true"] + entry["false"] + entry["missing"]  # type: ignore[operator]
    return sum(entry["counts"]) + entry["missing"]  # type: ignore[call-overload]


def test_inputs_and_target_are_counted_and_json_holds_it() -> None:
    made = profile(TRAIN, SCHEMA)
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    assert list(made["columns"]) == ["number", "often_zero", "city", "paid", "seen", "y"]
    assert all(total(entry) == 5_000 == made["rows"] for entry in made["columns"].values())
    assert set(made["columns"]["y"]["categories"]) == {"a", "b"}


def test_numeric_bins_hold_about_as_many_rows_each_and_all_training_rows() -> None:
    entry = profile(TRAIN, SCHEMA)["columns"]["number"]
    assert len(entry["edges"]) == BINS + 2  # the largest value has a bin of its own
    assert entry["counts"][0] == entry["counts"][-1] == 0
    assert set(entry["counts"][1:-2]) <= {249, 250}
    assert entry["minimum"] == TRAIN["number"].min()


def test_a_frequent_value_has_one_bin() -> None:
    entry = profile(TRAIN, SCHEMA)["columns"]["often_zero"]
    assert entry["edges"][0] == 0.0
    assert entry["counts"][1] >= (TRAIN["often_zero"] == 0).sum()


def test_categories_are_the_most_frequent_and_the_others() -> None:
    entry = profile(TRAIN, SCHEMA)["columns"]["city"]
    counts = list(entry["categories"].values())
    assert len(counts) == 100
    assert counts == sorted(counts, reverse=True)
    assert entry["other"] > 0


def test_timestamps_have_even_bins_in_whole_microseconds() -> None:
    entry = profile(TRAIN, SCHEMA)["columns"]["seen"]
    assert entry["edges"][0] == entry["minimum"] == int(DAY.timestamp()) * 1_000_000
    assert set(entry["counts"][1:-1]) == {250}


def test_profiles_of_parts_merge_into_the_profile_of_the_whole() -> None:
    reference = profile(TRAIN, SCHEMA)
    parts = [profile_like(TRAIN[begin:end], reference) for begin, end in ((0, 0), (0, 1_234), (1_234, 5_000))]
    whole = json.loads(json.dumps({key: reference[key] for key in ("format", "rows", "columns")}))
    for entry in whole["columns"].values():
        if entry.pop("seen", None) is not None:
            entry["unseen"] = 0  # of training's own rows
    assert merge(parts) == merge(parts[::-1]) == whole
    assert merge(parts[:1]) == parts[0]
    assert profile_like(TRAIN, json.loads(json.dumps(reference))) == whole


def test_only_profiles_over_the_same_bins_merge() -> None:
    reference = profile(TRAIN, SCHEMA)
    other = profile(TRAIN.with_columns(pl.col("number") + 1), SCHEMA)
    with pytest.raises(SchemaError, match="'number' over other bins"):
        merge([reference, other])
    with pytest.raises(SchemaError, match="'number' over other bins, or not at all"):
        merge([reference, {**reference, "columns": {}}])


def test_cells_hold_every_row_once() -> None:
    columns = profile(TRAIN, SCHEMA)["columns"]
    for entry in columns.values():
        assert cells(entry).sum() == total(entry) == 5_000
    assert cells(columns["paid"]).tolist() == [columns["paid"]["false"], columns["paid"]["true"], 0]
    assert cells(columns["city"])[-2] == columns["city"]["other"]


def test_many_values_and_many_rows_are_counted_as_few_are() -> None:
    reference = profile(TRAIN, SCHEMA)
    rows = 300_000
    live = pl.DataFrame({"city": [None, "", "1", *(f"new {i}" for i in range(rows - 3))]})
    more = pl.DataFrame({"number": np.resize(TRAIN["number"].to_numpy(), rows)})
    wanted = {name: {"columns": {name: reference["columns"][name]}} for name in ("city", "number")}
    city = profile_like(live, wanted["city"])["columns"]["city"]
    assert (city["missing"], city["categories"]["1"], city["other"]) == (2, 1, rows - 3)
    counts = profile_like(more, wanted["number"])["columns"]["number"]["counts"]
    assert counts == [60 * count for count in reference["columns"]["number"]["counts"]]


def test_new_values_count_as_below_above_other_and_missing() -> None:
    reference = profile(TRAIN, SCHEMA)
    live = pl.DataFrame(
        {
            "number": [-1e9, 1e9, float("inf"), float("-inf"), float("nan"), None],
            "often_zero": [0.0] * 6,
            "city": ["Málaga", "", None, "1", "🜁", "1"],
            "paid": [True, None, None, False, False, False],
            "seen": [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC), None, DAY, DAY, DAY],
            "y": ["c", None, "a", "a", "a", "a"],
        },
        schema_overrides={"seen": pl.Datetime("us", "UTC")},
    )
    found = profile_like(live, reference)["columns"]
    assert (found["number"]["counts"][0], found["number"]["counts"][-1], found["number"]["missing"]) == (2, 2, 2)
    assert (found["number"]["minimum"], found["number"]["maximum"]) == (-1e9, 1e9)
    assert (found["city"]["other"], found["city"]["missing"], found["city"]["categories"]["1"]) == (2, 2, 2)
    assert (found["paid"]["true"], found["paid"]["false"], found["paid"]["missing"]) == (1, 3, 2)
    assert (found["seen"]["counts"][0], found["seen"]["counts"][-1], found["seen"]["missing"]) == (1, 1, 1)
    assert (found["y"]["other"], found["y"]["missing"]) == (1, 1)


@pytest.mark.parametrize(
    "values, counts",
    [
        ([3.0, 3.0, 3.0], [0, 3, 0]),
        ([], [0]),
        ([None, float("nan")], [0]),
        ([float("inf")] * 2, [2]),
        ([7.0], [0, 1, 0]),
        ([-1.7976931348623157e308, 1.7976931348623157e308], [0, 1, 1]),
        ([2.0**53, 2.0**53 + 2], [0, 1, 1, 0]),
    ],
)
def test_hostile_numbers(values: list[float], counts: list[int]) -> None:
    data = pl.DataFrame({"x": pl.Series(values, dtype=pl.Float64)})
    made = profile(data, schema_of(data))
    json.dumps(made, allow_nan=False)
    assert made["columns"]["x"]["counts"] == counts


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_timestamps_none_one_and_naive(zone: str | None) -> None:
    for values, counts in ([[], [0]], [[None], [0]], [[DAY.replace(tzinfo=None)], [0, 1, 0]]):
        data = pl.DataFrame({"t": pl.Series(values, dtype=pl.Datetime("us")).dt.replace_time_zone(zone)})
        assert profile(data, schema_of(data))["columns"]["t"]["counts"] == counts


def test_answers_of_classes() -> None:
    probabilities = GENERATOR.dirichlet([1, 1], 1_000).astype(np.float32)
    probabilities[0] = [0, 1]
    label = np.where(probabilities[:, 1] > 0.5, "yes", "no").astype(object)
    made = profile_answers({"probabilities": probabilities, "label": label}, ("no", "yes"))
    assert list(made["columns"]) == ["probability of no", "probability of yes", "label"]
    assert sum(made["columns"]["probability of yes"]["counts"]) == 1_000
    assert made["columns"]["probability of yes"]["counts"][-1] == 1  # exactly 1 has its own bin
    assert sum(made["columns"]["label"]["categories"].values()) == 1_000
    json.dumps(made, allow_nan=False)


def test_answers_of_a_regression() -> None:
    value = GENERATOR.normal(size=1_000).astype(np.float32)
    made = profile_answers({"value": value, "lower": value - 1, "upper": value + 1}, ())
    assert sum(made["columns"]["value"]["counts"]) == sum(made["columns"]["width"]["counts"]) == 1_000
    json.dumps(made, allow_nan=False)


def test_what_the_training_split_never_had_is_told_apart_from_what_it_had_seldom() -> None:
    often, seldom = ["a"] * 50, [f"r{i}" for i in range(200)]
    schema = Schema(columns=(Column(name="c", kind=Kind.CATEGORICAL),))
    reference = profile(pl.DataFrame({"c": often + seldom}), schema)
    entry = reference["columns"]["c"]
    assert entry["other"] == len(entry["seen"]) == 101 and set(entry["categories"]) | set(entry["seen"]) == {
        "a",
        *seldom,
    }
    live = pl.DataFrame({"c": ["a", *seldom, "new", "new", "newer", "", None]})
    assert profile_like(live, reference)["columns"]["c"]["unseen"] == 3
    found = unseen(live["c"], entry)
    assert found is not None and found.rows() == [("new", 2), ("newer", 1)]
    assert unseen(live["c"], {**entry, "seen": None}) is None
    few = profile(pl.DataFrame({"c": ["a", "b"]}), schema)["columns"]["c"]
    assert "seen" not in few and unseen(pl.Series(["a", "c"]), few).rows() == [("c", 1)]  # type: ignore[union-attr]
