from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from sklearn.model_selection import train_test_split
from splits_parts import BINARY, DAY, SCHEMA, schema, settings, table

from tidemill.data.schema import Role
from tidemill.data.splitting.sealed import SealedTest
from tidemill.data.splitting.splits import split
from tidemill.data.target import Target
from tidemill.errors import SplitError
from tidemill.settings import Kind, Objective, SplitMethod

VALUE = Target(name="y", objective=Objective.REGRESSION, classes=())


def rows(part: pl.DataFrame) -> list[int]:
    return part["row"].cast(pl.Int64).to_list()


@pytest.mark.parametrize("seed", [0, 3])
def test_random_is_scikit_learns_split_row_for_row(seed: int) -> None:
    made = split(table(20_640), SCHEMA, settings(SplitMethod.RANDOM, seed=seed), BINARY)
    rest, test = train_test_split(np.arange(20_640), test_size=0.2, random_state=seed)
    train, validation = train_test_split(rest, test_size=0.2, random_state=seed + 1)
    assert (made.train.height, made.validation.height, made.test.rows) == (13_209, 3_303, 4_128)
    assert rows(made.train) == train.tolist()
    assert rows(made.validation) == validation.tolist()
    assert rows(made.test.open("compare")) == test.tolist()


def test_stratified_is_scikit_learns_split_row_for_row() -> None:
    data = table(1_003)
    made = split(data, SCHEMA, settings(SplitMethod.STRATIFIED), BINARY)
    labels = data["y"].to_numpy()
    rest, test = train_test_split(np.arange(1_003), test_size=0.2, random_state=0, stratify=labels)
    train, validation = train_test_split(rest, test_size=0.2, random_state=1, stratify=labels[rest])
    assert rows(made.train) == train.tolist()
    assert rows(made.validation) == validation.tolist()
    assert rows(made.test.open("compare")) == test.tolist()


def test_a_given_test_table_leaves_the_validation_cut_only() -> None:
    data, given = table(32_561), table(16_281)
    made = split(data, SCHEMA, settings(SplitMethod.STRATIFIED), BINARY, given)
    train, _ = train_test_split(np.arange(32_561), test_size=0.2, random_state=1, stratify=data["y"].to_numpy())
    assert (made.train.height, made.validation.height, made.test.rows) == (26_048, 6_513, 16_281)
    assert rows(made.train) == train.tolist()
    assert made.test.open("compare").equals(given)


@pytest.mark.parametrize("method", list(SplitMethod))
def test_every_method_gives_each_row_to_one_split(method: SplitMethod) -> None:
    data = table(500)
    made = split(data, SCHEMA, settings(method), BINARY)
    parts = [rows(made.train), rows(made.validation), rows(made.test.open("compare"))]
    assert sorted(row for part in parts for row in part) == list(range(500))
    again = split(data, SCHEMA, settings(method), BINARY)
    assert rows(again.train) == parts[0]


def test_grouped_keeps_groups_whole_near_the_share() -> None:
    made = split(table(5_000, groups=50), SCHEMA, settings(SplitMethod.GROUPED), BINARY)
    parts = [set(part["g"]) for part in (made.train, made.validation, made.test.open("compare"))]
    assert [len(part) for part in parts] == [32, 8, 10]
    assert len(set.union(*parts)) == 50


def test_grouped_with_one_group_for_each_split_and_one_giant() -> None:
    data = table(100).with_columns(g=pl.Series(["x"] * 98 + ["y", "z"]))
    made = split(data, SCHEMA, settings(SplitMethod.GROUPED), VALUE)
    sizes = [made.train["g"].n_unique(), made.validation["g"].n_unique(), made.test.open("compare")["g"].n_unique()]
    assert sizes == [1, 1, 1]


def test_grouped_with_too_few_groups() -> None:
    with pytest.raises(SplitError, match=r"at least one group for each split.*1 groups in 'g'.*validation"):
        split(table(100, groups=2), SCHEMA, settings(SplitMethod.GROUPED), BINARY)


def test_time_by_instants_with_and_without_offset() -> None:
    by_instant = settings(SplitMethod.TIME, validation_from="2013-01-02", test_from="2013-01-03T01:00:00+01:00")
    made = split(table(72), SCHEMA, by_instant, BINARY)
    assert rows(made.train) == list(range(24))
    assert rows(made.validation) == list(range(24, 48))
    assert rows(made.test.open("compare")) == list(range(48, 72))


def test_time_of_naive_timestamps_is_utc_to_the_microsecond() -> None:
    data = table(72).with_columns(pl.col("t").dt.replace_time_zone(None).dt.cast_time_unit("ns"))
    cut = settings(SplitMethod.TIME, validation_from="2013-01-02T00:00:00.000001Z", test_from="2013-01-03")
    assert rows(split(data, SCHEMA, cut, BINARY).train) == list(range(25))


def test_time_by_shares_is_late_rows_and_keeps_ties_together() -> None:
    data = table(100).with_columns(t=pl.Series([DAY + timedelta(days=(99 - i) // 15) for i in range(100)]))
    made = split(data, SCHEMA, settings(SplitMethod.TIME, test=0.2, validation=0.2), BINARY)
    test = made.test.open("compare")
    days = [sorted(part["t"].dt.day().unique()) for part in (made.train, made.validation, test)]
    assert days == [[1, 2, 3, 4], [5], [6, 7]]
    assert test.height == 25  # 10 or 25 rows: 25 is nearer to 20


def test_time_with_a_given_test_table_ignores_test_from() -> None:
    cut = settings(SplitMethod.TIME, validation_from="2013-01-02", test_from="2013-01-01")
    made = split(table(48), SCHEMA, cut, BINARY, table(10))
    assert (made.train.height, made.validation.height, made.test.rows) == (24, 24, 10)


def test_time_where_all_rows_share_one_instant() -> None:
    data = table(50).with_columns(t=pl.lit(DAY))
    with pytest.raises(SplitError, match=r"No split may be empty.*train 0 rows"):
        split(data, SCHEMA, settings(SplitMethod.TIME), BINARY)


def test_instants_outside_the_data() -> None:
    cut = settings(SplitMethod.TIME, validation_from="2020-01-01", test_from="2021-01-01")
    with pytest.raises(SplitError, match="train 50 rows, validation 0 rows, test 0 rows with validation_from=2020"):
        split(table(50), SCHEMA, cut, BINARY)


@pytest.mark.parametrize("method, role", [(SplitMethod.TIME, "time"), (SplitMethod.GROUPED, "group")])
def test_a_method_without_its_column(method: SplitMethod, role: str) -> None:
    bare = schema(row=(Kind.NUMERIC, Role.FEATURE), y=(Kind.CATEGORICAL, Role.TARGET))
    with pytest.raises(
        SplitError, match=rf"method={method} needs data\.{role}.*set data\.{role} to one of row, g, t, y"
    ):
        split(table(50), bare, settings(method), BINARY)


def test_time_that_is_no_timestamp() -> None:
    numeric = schema(row=(Kind.NUMERIC, Role.TIME), y=(Kind.CATEGORICAL, Role.TARGET))
    with pytest.raises(SplitError, match=r"needs a timestamp.*'row' is numeric.*data\.kinds\.row=timestamp"):
        split(table(50), numeric, settings(SplitMethod.TIME), BINARY)


@pytest.mark.parametrize(
    "method, column",
    [(SplitMethod.TIME, "t"), (SplitMethod.GROUPED, "g"), (SplitMethod.STRATIFIED, "y")],
)
def test_missing_values_in_the_column_that_decides(method: SplitMethod, column: str) -> None:
    data = table(50).with_columns(pl.when(pl.col("row") < 3).then(None).otherwise(pl.col(column)).alias(column))
    with pytest.raises(SplitError, match=f"a value in every row.*3 of 50 rows without one in '{column}'"):
        split(data, SCHEMA, settings(method), BINARY)


def test_nan_counts_as_missing() -> None:
    numeric = schema(row=(Kind.NUMERIC, Role.GROUP), y=(Kind.CATEGORICAL, Role.TARGET))
    with pytest.raises(SplitError, match="1 of 50 rows"):
        split(
            table(50).with_columns(row=pl.col("row").replace(0.0, float("nan"))), numeric, settings(SplitMethod.GROUPED)
        )


@pytest.mark.parametrize("target, said", [(None, "no target"), (VALUE, "the regression target 'y'")])
def test_stratified_without_classes(target: Target | None, said: str) -> None:
    with pytest.raises(SplitError, match=f"needs a target with classes.*{said}"):
        split(table(50), SCHEMA, settings(SplitMethod.STRATIFIED), target)


@pytest.mark.parametrize("n", [0, 1])
def test_no_rows_to_cut(n: int) -> None:
    with pytest.raises(SplitError, match="Each split needs rows"):
        split(table(n), SCHEMA, settings(SplitMethod.RANDOM), BINARY)
    with pytest.raises(SplitError, match="No split may be empty"):
        split(table(n), SCHEMA, settings(SplitMethod.TIME), BINARY)
    with pytest.raises(SplitError, match="at least one group for each split"):
        split(table(n), SCHEMA, settings(SplitMethod.GROUPED), BINARY)


def test_a_given_validation_table_leaves_the_test_cut_only() -> None:
    data, given = table(1_000), table(77)
    made = split(data, SCHEMA, settings(SplitMethod.RANDOM), BINARY, None, given)
    _, test = train_test_split(np.arange(1_000), test_size=0.2, random_state=0)
    assert (made.train.height, made.test.rows) == (800, 200)
    assert made.validation.equals(given)
    assert rows(made.test.open("compare")) == test.tolist()


def test_rows_alike_stay_in_one_split() -> None:
    data = table(300).with_columns(row=pl.col("row") // 3)
    made = split(data, SCHEMA, settings(SplitMethod.RANDOM), BINARY, alike=["row"])
    parts = [set(part["row"]) for part in (made.train, made.validation, made.test.open("compare"))]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 100
    assert len(parts[2]) == 20


def test_an_empty_test_table() -> None:
    with pytest.raises(SplitError, match="test 0 rows"):
        split(table(50), SCHEMA, settings(SplitMethod.RANDOM), BINARY, table(50).clear())


def test_the_test_split_opens_once() -> None:
    sealed = SealedTest(table(5))
    assert sealed.rows == 5
    assert sealed.inspect("data checks", lambda part: part.height) == 5
    assert sealed.opened is None
    assert sealed.open("the final evaluation").height == 5
    assert sealed.opened is not None
    assert sealed.opened.at.tzinfo is not None
    assert [look.purpose for look in sealed.inspected] == ["data checks"]
    with pytest.raises(SplitError, match=r"opened once per run.*'a plot'.*opened for 'the final evaluation' at 20"):
        sealed.open("a plot")
