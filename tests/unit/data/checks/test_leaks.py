import time

import numpy as np
import polars as pl
import pytest
from checked_tables import data_settings, tables

from tidemill.data.checks import joint, leaks
from tidemill.data.checks.findings import Finding, Severity
from tidemill.data.tables import Tables
from tidemill.settings import Objective

N = 4_000
RANDOM = np.random.default_rng(0)
LABEL = RANDOM.random(N) < 0.2
NOISE = RANDOM.normal(size=N)
VALUE = np.exp(RANDOM.normal(size=N))


def binary(**columns: object) -> Tables:
    return tables(pl.DataFrame({"noise": NOISE, **columns, "y": np.where(LABEL, "yes", "no")}), target="y")


def checked(found: Tables) -> list[Finding]:
    return list(leaks.check(found, leaks.scores(found)))


def errors(found: Tables) -> dict[str | None, Finding]:
    return {finding.column: finding for finding in checked(found) if finding.severity is Severity.ERROR}


@pytest.mark.parametrize(
    "column, through",
    [
        (pl.Series(LABEL.astype(float)), "value"),
        (pl.Series(-VALUE - 100 * LABEL), "value"),
        (pl.Series(LABEL), "value"),
        (pl.Series(np.where(LABEL, 5.0, RANDOM.choice([1.0, 9.0], N))), "value range"),
        (pl.Series(np.where(LABEL, "late", RANDOM.choice(["early", "on time"], N))), "category"),
        (pl.Series(["because" if late else None for late in LABEL]), "missing values"),
        (pl.Series(np.where(LABEL, np.nan, VALUE)), "missing values"),
        (pl.Series(np.where(RANDOM.random(N) < 0.5, LABEL + NOISE / 1e9, np.nan)), "value"),
        (pl.Series(np.where(LABEL, 2e15, 1e15).astype(int)).cast(pl.Datetime("us", "UTC")), "value"),
        (pl.Series(np.where(LABEL, np.inf, -np.inf)), "value"),
    ],
)
def test_a_column_that_gives_a_class_away_is_named(column: pl.Series, through: str) -> None:
    found = errors(binary(leak=column))
    assert list(found) == ["leak"]
    assert found["leak"].share == 1, "an AUROC is no share of rows"
    assert "'leak' alone predicts 'y' by its " in found["leak"].message
    assert through in found["leak"].message
    assert "data.ignored" in found["leak"].remedy
    assert "data.quality.allow_leaks" in found["leak"].remedy


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([f"row {i}" for i in range(N)]),
        pl.Series([f"pair {i // 2}" for i in range(N)]),
        pl.Series([f"ten {i // 10}" for i in range(N)]),
        pl.Series(np.arange(N, dtype=float)),
        pl.Series(np.full(N, 3.0)),
        pl.Series([None] * N, dtype=pl.Float64),
        pl.Series([None] * N, dtype=pl.String),
        pl.Series(np.where(np.arange(N) < 20, LABEL.astype(float), np.nan)),
        pl.Series(LABEL + 1.5 * NOISE),
        pl.Series([""] * N),
    ],
)
def test_names_constants_chance_and_honest_columns_pass(column: pl.Series) -> None:
    assert errors(binary(column=column)) == {}


def test_pairs_of_one_of_each_class_are_no_leak() -> None:
    table = pl.DataFrame({"pair": [f"pair {i // 2}" for i in range(N)], "y": ["a", "b"] * (N // 2)})
    assert errors(tables(table, target="y")) == {}


def test_the_score_is_the_auroc_of_scikit_learn() -> None:
    from sklearn.metrics import roc_auc_score

    values = LABEL + 1.5 * NOISE
    (score,) = [score for score in leaks.scores(binary(x=values)) if score.column == "x"]
    assert score.value == pytest.approx(roc_auc_score(LABEL, values), abs=1e-12)


def test_classes_are_taken_each_against_the_rest() -> None:
    labels = RANDOM.choice(["a", "b", "c"], N, p=[0.7, 0.2, 0.1])
    table = pl.DataFrame(
        {
            "code": pl.Series(labels).replace_strict({"a": 5.0, "b": 1.0, "c": 3.0}),
            "one_class": (labels == "c").astype(float),
            "noise": NOISE,
            "y": labels,
        }
    )
    assert list(errors(tables(table, target="y", objective=Objective.MULTICLASS))) == ["code"]


def test_regression_goes_by_rank_correlation() -> None:
    table = pl.DataFrame(
        {
            "falling": -np.log(VALUE),
            "half_missing": np.where(NOISE > 0, VALUE * 3, np.nan),
            "folded": np.abs(np.log(VALUE)),
            "honest": VALUE + RANDOM.normal(size=N),
            "noise": NOISE,
            "bands": np.digitize(np.log(VALUE), [-2.0, -1, -0.5, -0.2, 0, 0.2, 0.5, 1, 2]).astype(str),
            "y": VALUE,
        }
    )
    found = errors(tables(table, target="y", objective=Objective.REGRESSION))
    assert list(found) == ["falling", "half_missing", "bands"]
    assert "absolute rank correlation 1.0000 (limit 0.98)" in found["falling"].message


def test_declared_columns_are_told_and_pass() -> None:
    table = pl.DataFrame({"leak": LABEL.astype(float), "y": LABEL})
    settings = data_settings(allow_leaks=["leak"])
    (finding,) = checked(tables(table, target="y", settings=settings))
    assert finding.severity is Severity.INFO
    assert "declared honest in data.quality.allow_leaks" in finding.message


def test_the_strongest_honest_column_is_told() -> None:
    (finding,) = checked(binary(x=LABEL + 1.5 * NOISE))
    assert (finding.check, finding.column, finding.severity) == ("strongest_column", "x", Severity.INFO)


@pytest.mark.parametrize("rows", [0, 1, 30])
def test_too_few_rows_to_tell(rows: int) -> None:
    table = pl.DataFrame({"leak": LABEL.astype(float), "y": LABEL}).head(rows)
    assert errors(tables(table, target="y")) == {}
    assert errors(tables(table.cast(pl.Float64), target="y", objective=Objective.REGRESSION)) == {}


def test_without_a_target_there_is_nothing_to_leak() -> None:
    assert list(joint.check(tables(pl.DataFrame({"x": NOISE})))) == []


def test_a_target_of_one_value_is_not_our_finding() -> None:
    assert errors(tables(pl.DataFrame({"x": NOISE, "y": ["a"] * N}), target="y")) == {}


@pytest.mark.slow
def test_large_tables_are_sampled_and_quick() -> None:
    rows = 200_000
    generator = np.random.default_rng(1)
    columns = {f"x{i}": generator.normal(size=rows) for i in range(25)}
    names = {f"c{i}": generator.integers(0, 10 ** (i + 1), rows).astype(str) for i in range(5)}
    found = tables(pl.DataFrame({**columns, **names, "y": generator.random(rows) < 0.3}), target="y")
    start = time.process_time()
    assert errors(found) == {}
    assert time.process_time() - start < 5  # of processors, whatever else the machine does; 0.5 s is usual
