"""Every class in every split, where that is possible, and what is said where it is not."""

import polars as pl
import pytest
from splits_parts import BINARY, SCHEMA, settings, table

from tidemill.data.splitting.splits import Splits, split
from tidemill.errors import SplitError
from tidemill.settings import AbsentClasses, SplitMethod, SplitSettings


def rare(positions: list[int], n: int = 100) -> pl.DataFrame:
    """`n` rows in order of time of which these are of the class rare."""
    return table(n).with_columns(
        y=pl.when(pl.col("row").cast(pl.Int64).is_in(positions)).then(pl.lit("rare")).otherwise("y")
    )


def refused(data: pl.DataFrame, how: SplitSettings, *given: pl.DataFrame | None) -> SplitError:
    with pytest.raises(SplitError, match="Every class must have rows in train, validation and test") as caught:
        split(data, SCHEMA, how, BINARY, *given)
    return caught.value


def classes_of(made: Splits) -> list[set[str]]:
    return [set(part["y"]) for part in (made.train, made.validation, made.test.open("compare"))]


@pytest.mark.parametrize("positions", [[7], [7, 50]])
def test_a_class_of_fewer_rows_than_splits(positions: list[int]) -> None:
    data = rare(positions)
    error = refused(data, settings(SplitMethod.STRATIFIED))
    assert "'rare' has 1 rows in train" in error.observed
    assert "give at least 3 rows of 'rare'" in error.remedy
    assert "'data.quality.domains.y=[a,b]'" in error.remedy
    without = split(data.filter(pl.col("y") != "rare"), SCHEMA, settings(SplitMethod.STRATIFIED), BINARY)
    assert all(found == {"a", "b"} for found in classes_of(without))
    accepted = settings(SplitMethod.STRATIFIED, absent_classes=AbsentClasses.ACCEPT)
    assert "rare" in classes_of(split(data, SCHEMA, accepted, BINARY))[0]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("positions", [[7, 30, 60], [1, 2, 3, 99]])
def test_a_class_of_three_rows_is_in_every_stratified_split(positions: list[int], seed: int) -> None:
    made = split(rare(positions), SCHEMA, settings(SplitMethod.STRATIFIED, seed=seed), BINARY)
    assert made.train.height + made.validation.height + made.test.rows == 100
    assert classes_of(made) == [{"a", "b", "rare"}] * 3


def test_many_classes_of_three_rows_are_in_every_stratified_split() -> None:
    data = table(60).with_columns(y=pl.format("c{}", pl.col("row").cast(pl.Int64) // 3))
    made = split(data, SCHEMA, settings(SplitMethod.STRATIFIED, test=0.1), BINARY)
    assert [len(found) for found in classes_of(made)] == [20, 20, 20]


def test_random_sends_to_stratified_which_works() -> None:
    data = rare([7, 30, 60])
    error = refused(data, settings(SplitMethod.RANDOM))
    assert error.remedy.startswith("set data.split.method=stratified;")
    split(data, SCHEMA, settings(SplitMethod.STRATIFIED), BINARY)


def test_groups_are_drawn_again_until_each_class_is_everywhere() -> None:
    data = rare([1, 2, 3])  # of three of ten groups
    for seed in range(5):
        made = split(data, SCHEMA, settings(SplitMethod.GROUPED, seed=seed), BINARY)
        assert classes_of(made) == [{"a", "b", "rare"}] * 3
    error = refused(rare([1, 11, 21]), settings(SplitMethod.GROUPED))  # all of one group
    assert "give rows of 'rare' in at least 3 groups of 'g'" in error.remedy


def test_a_cut_by_time_that_leaves_a_class_out_names_instants_that_do_not() -> None:
    data = rare([10, 61, 71])
    error = refused(data, settings(SplitMethod.TIME))
    assert "'rare' has 2 rows in train, 1 rows in validation, 0 rows in test" in error.observed
    words = dict(word.split("=") for word in error.remedy.split("; or ")[0].removeprefix("set ").split())
    cut = {key.removeprefix("data.split."): value for key, value in words.items()}
    assert classes_of(split(data, SCHEMA, settings(SplitMethod.TIME, **cut), BINARY)) == [{"a", "b", "rare"}] * 3


def test_a_cut_by_time_where_no_instants_help() -> None:
    error = refused(rare([97, 98, 99]), settings(SplitMethod.TIME))
    assert "data.split.test_from" not in error.remedy
    assert "absent_classes" not in error.remedy  # what training lacks cannot be accepted
    assert "data.quality.domains.y=[a,b]" in error.remedy


def test_a_class_absent_from_a_given_table() -> None:
    given = table(50).filter(pl.col("y") == "a")
    assert "leave data.test_path unset" in refused(table(50), settings(SplitMethod.RANDOM), given).remedy
    assert "leave data.validation_path unset" in refused(table(50), settings(SplitMethod.RANDOM), None, given).remedy


def test_a_class_absent_from_train_is_named() -> None:
    given = table(50).with_columns(y=pl.col("y") + ".")
    with pytest.raises(SplitError, match=r"'a\.' has 0 rows in train.*spell classes alike in data\.path"):
        split(table(50), SCHEMA, settings(SplitMethod.RANDOM), BINARY, given)


@pytest.mark.parametrize("dtype", [pl.Float64, pl.Boolean])
def test_stratified_by_numbers_and_booleans(dtype: type[pl.DataType]) -> None:
    data = table(100).with_columns(y=(pl.col("y") == "a").cast(dtype))
    made = split(data, SCHEMA, settings(SplitMethod.STRATIFIED), BINARY)
    assert made.train["y"].n_unique() == 2
