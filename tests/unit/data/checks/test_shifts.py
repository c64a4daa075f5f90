import numpy as np
import polars as pl
import pytest
from checked_tables import data_settings, split_settings, tables

from tidemill.data.checks import shifts
from tidemill.data.checks.findings import Finding, Severity
from tidemill.settings import Objective, SplitMethod

GENERATOR = np.random.default_rng(0)


def found(
    check: str, train: pl.DataFrame, test: pl.DataFrame, objective: Objective = Objective.BINARY
) -> list[Finding]:
    settings = data_settings(split=split_settings(SplitMethod.TIME))
    made = tables(train, target="y", objective=objective, validation=train, test=test, settings=settings)
    return [finding for run in shifts.CHECKS for finding in run(made) if finding.check == check]


def rate(share: float, rows: int) -> pl.DataFrame:
    return pl.DataFrame({"x": np.zeros(rows), "y": np.where(np.arange(rows) < share * rows, "yes", "no")})


def test_the_rate_of_the_target() -> None:
    (finding,) = found("target_shift", rate(0.386, 20_000), rate(0.315, 5_000))  # as hotel bookings by time
    assert (finding.severity, finding.column, finding.rows) == (Severity.WARNING, "y", 5_000)
    assert "in 38.6% of train, but in 31.5% of test" in finding.message or (
        "in 61.4% of train, but in 68.5% of test" in finding.message
    )
    assert "retrain often" in finding.remedy


@pytest.mark.parametrize(
    ("train", "test", "rows"),
    [(0.386, 0.379, 5_000), (0.4, 0.3, 40), (0.3, 0.32, 100_000)],
    ids=["small", "by chance", "certain, and small"],
)
def test_rates_that_are_as_good_as_the_same(train: float, test: float, rows: int) -> None:
    assert found("target_shift", rate(train, 20_000), rate(test, rows)) == []


def test_a_rare_class_that_halves() -> None:
    assert len(found("target_shift", rate(0.01, 20_000), rate(0.004, 10_000))) == 1


@pytest.mark.parametrize(("by", "count"), [(0.5, 1), (0.05, 0)])
def test_the_mean_of_a_numeric_target(by: float, count: int) -> None:
    def moved(mean: float) -> pl.DataFrame:
        return pl.DataFrame({"x": np.zeros(4_000), "y": GENERATOR.normal(mean, 1, 4_000)})

    assert len(found("target_shift", moved(0), moved(by), Objective.REGRESSION)) == count


def test_missing_rates_of_the_most_different_columns() -> None:
    def gaps(share: float, rows: int = 2_000) -> pl.DataFrame:
        values = [None if i < share * rows else 1.0 for i in range(rows)]
        return pl.DataFrame(
            {f"c{i}": values for i in range(8)} | {"full": np.ones(rows), "y": ["yes", "no"] * (rows // 2)}
        )

    (finding,) = found("missing_shift", gaps(0.4), gaps(0.68))
    assert "'c0' 40.0% and 68.0%" in finding.message
    assert "and 3 more" in finding.message
    assert "full" not in finding.message
    assert found("missing_shift", gaps(0.4), gaps(0.45)) == []
    assert found("missing_shift", gaps(0.4), gaps(0.6, rows=10)) == []
