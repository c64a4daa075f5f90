"""Rows that repeat each other: what is told, what keeps a version from becoming champion, and what can be done."""

import numpy as np
import polars as pl
import pytest
from checked_tables import data_settings, split_settings, tables

from tidemill.data.checks import repeats
from tidemill.data.checks.findings import Finding, Severity
from tidemill.settings import SplitMethod

GENERATOR = np.random.default_rng(0)


def frame(rows: int) -> pl.DataFrame:
    return pl.DataFrame({"a": GENERATOR.normal(size=rows), "b": GENERATOR.normal(size=rows)}).with_columns(
        y=pl.Series(GENERATOR.random(rows) < 0.5)
    )


def across(train: pl.DataFrame, test: pl.DataFrame, **quality: object) -> Finding:
    made = tables(train, target="y", test=test, settings=data_settings(**quality))
    (found,) = [finding for finding in repeats.check(made) if finding.check == "duplicates_across"]
    return found


@pytest.mark.parametrize(("repeated", "bars"), [(0.25, False), (0.35, True)])
def test_a_test_split_that_repeats_train_bars_a_champion(repeated: float, bars: bool) -> None:
    train, test = frame(1_000), frame(1_000)
    known = round(repeated * 1_000)
    found = across(train, pl.concat([train[:known], test[known:]]))
    assert (found.severity, found.bars, found.rows) == (Severity.WARNING, bars, known)
    assert ("limit 30%" in found.message) == ("data.quality.max_repeated" in found.remedy) == bars
    assert "data.quality.duplicates=drop" in found.remedy
    assert "data.quality.duplicates=group" in found.remedy
    assert not across(train, pl.concat([train[:known], test[known:]]), max_repeated=0.5).bars


def test_few_different_rows_are_alike_by_nature() -> None:
    def few(rows: int) -> pl.DataFrame:
        return pl.DataFrame({"kind": [f"k{i % 20}" for i in range(rows)], "y": [i % 20 < 10 for i in range(rows)]})

    found = across(few(38), few(12))  # as in cases/tiny-cats60.csv
    assert (found.severity, found.bars, found.share) == (Severity.WARNING, False, 1.0)
    assert "few different values" in found.message


def test_a_copy_is_no_chance() -> None:
    train = frame(1_000)
    found = across(train, train[:500])
    assert found.severity is Severity.ERROR
    assert "they are copies" in found.message


def test_remedies_are_for_the_split_at_hand() -> None:
    train = frame(1_000)
    test = pl.concat([train[:400], frame(600)])
    by_time = data_settings(split=split_settings(SplitMethod.TIME))
    separate = data_settings(test_path="test.csv")
    remedies = []
    for settings in (by_time, separate):
        made = tables(train, target="y", test=test, settings=settings)
        remedies += [finding.remedy for finding in repeats.check(made) if finding.check == "duplicates_across"]
    assert "duplicates=group and data.split.method=random" in remedies[0]
    assert "group" not in remedies[1]  # a table of its own is not cut


def test_the_first_of_equal_rows_stays_over_all_tables() -> None:
    first, second = frame(50), frame(50)
    one = pl.concat([first, first[:10], second[:5]])
    kept = repeats.drop({"a": one, "b": pl.concat([second, first[:7]])}, ["a", "b", "y"])
    assert [part.height for part in kept.values()] == [55, 45]
    assert kept["a"].equals(pl.concat([first, second[:5]]))
    other = second.with_columns(~pl.col("y"))
    assert (
        repeats.drop({"a": second, "b": other}, ["a", "b", "y"])["b"].height == 50
    )  # another answer is another record


def test_missing_values_of_both_sorts_are_equal() -> None:
    one = pl.DataFrame({"a": [None, float("nan"), 1.0], "b": ["", None, "x"]})
    assert repeats.drop({"a": one}, ["a", "b"])["a"].height == 2
