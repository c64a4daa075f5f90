import json
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from checked_tables import data_settings, schema_of, split_settings, tables
from quality_parts import ERROR, GENERATOR, INFO, WARNING, N, finding, frame

from tidemill.data.checks import column_checks, quality, repeats, row_checks, shifts
from tidemill.data.checks.findings import Severity
from tidemill.data.profiles.profile import profile
from tidemill.data.schema import Role
from tidemill.data.splitting.splits import split
from tidemill.data.tables import Tables
from tidemill.data.target import Target
from tidemill.data.typed import REASON, TypedTable
from tidemill.errors import QualityError
from tidemill.settings import Objective, SplitMethod

NOISE = GENERATOR.normal(size=N)
DAY = datetime(2013, 1, 1, tzinfo=UTC)


def said(found: Tables) -> list[tuple[str, Severity, str | None, int]]:
    """Findings of all checks but leaks and personal data, without those on few rows."""
    found_all = [
        finding
        for run in (*row_checks.CHECKS, repeats.check, *column_checks.CHECKS, *shifts.CHECKS)
        for finding in run(found)
    ]
    assert all(finding.message and finding.remedy and finding.share >= 0 for finding in found_all)
    return [(f.check, f.severity, f.column, f.rows) for f in found_all if f.check != "few_rows"]


def test_a_clean_table_has_no_findings() -> None:
    parts = [frame(y=GENERATOR.random(N) < 0.4) for _ in range(3)]
    made = tables(parts[0], target="y", validation=parts[1], test=parts[2])
    assert [finding for run in quality.CHECKS for finding in run(made) if finding.check != "strongest_column"] == []


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_missing(missing: float | None) -> None:
    half = [missing if i < 600 else value for i, value in enumerate(NOISE)]
    assert said(tables(frame(x=half))) == [("missing", WARNING, "x", 600)]
    assert said(tables(frame(x=pl.Series([missing] * N, dtype=pl.Float64)))) == [("all_missing", ERROR, "x", N)]
    assert said(tables(frame(x=half), settings=data_settings(max_missing=0.6))) == []


def test_empty_text_is_missing() -> None:
    assert said(tables(frame(x=[""] * N))) == [("all_missing", ERROR, "x", N)]


@pytest.mark.parametrize("value", [0.0, "a", True, DAY])
def test_constant(value: object) -> None:
    assert said(tables(frame(x=[value] * N))) == [("constant", WARNING, "x", N)]


def test_nearly_constant_and_constant_beside_missing() -> None:
    assert said(tables(frame(x=[0.0] * (N - 1) + [1.0]))) == [("nearly_constant", INFO, "x", N - 1)]
    assert said(tables(frame(x=[0.0] * (N - 1) + [None]))) == []


def test_infinite_values() -> None:
    infinite = frame(x=[float("inf"), float("-inf"), *NOISE[2:]])
    assert said(tables(infinite)) == [("infinite", WARNING, "x", 2)]
    assert said(tables(infinite, target="x", objective=Objective.REGRESSION)) == [("infinite", ERROR, "x", 2)]
    assert said(tables(frame(x=NOISE), test=infinite)) == [("infinite", WARNING, "x", 2)]


def test_far_out() -> None:
    assert said(tables(frame(x=[99_999.0, *NOISE[1:]]))) == [("far_out", INFO, "x", 1)]


def test_the_largest_floats_are_no_trouble() -> None:
    assert said(tables(frame(x=np.where(NOISE > 0, 1.7e308, -1.7e308)))) == []


def test_times_that_no_calendar_has_are_no_trouble() -> None:
    far = pl.Series([2**62] * N).cast(pl.Datetime("us", "UTC"))
    settings = data_settings(split=split_settings(SplitMethod.TIME), test_path="test.csv")
    table = frame(x=far, t=far)
    found = said(tables(table, test=frame(x=far, t=far), settings=settings, t=Role.TIME))
    assert found == [("time_overlap", WARNING, "t", N), ("constant", WARNING, "x", N)]
    assert json.dumps(profile(table, schema_of(table)))


def test_unseen_categories() -> None:
    seen, new = ["a", "b"] * (N // 2), ["a", "ü"] * (N // 2)
    few = ["a"] * (N - 1) + ["z"]
    found = said(tables(frame(x=seen), validation=frame(x=new), test=frame(x=few)))
    assert found == [("unseen_categories", WARNING, "x", 500), ("unseen_categories", INFO, "x", 1)]


@pytest.mark.parametrize("value", ["a", 1.0, None])
def test_a_target_of_one_value(value: object) -> None:
    series = pl.Series([value] * N, dtype=pl.String if value is None else None)
    assert [finding[:3] for finding in said(tables(frame(y=series), target="y"))] == [("constant_target", ERROR, "y")]


def test_rare_classes() -> None:
    labels = ["rare"] * 9 + ["often"] * (N - 9)
    assert said(tables(frame(y=labels), target="y")) == [("rare_classes", WARNING, "y", 9)]


def test_quarantined_rows() -> None:
    assert said(tables(frame(), quarantined=10)) == [("quarantined", WARNING, None, 10)]
    assert said(tables(frame(), quarantined=100)) == [("quarantined", ERROR, None, 100)]


def test_duplicates_within_a_split() -> None:
    table = frame(c=["x"] * N)
    assert ("duplicates", INFO, None, 2) in said(tables(pl.concat([table, table[:2]])))
    assert ("duplicates", WARNING, None, 100) in said(tables(pl.concat([table, table[:100]])))


def test_rows_alike_but_for_the_target_or_the_key_place() -> None:
    table = frame(a=np.zeros(N), b=np.ones(N), y=["p"] * N)
    swapped = table.rename({"a": "b", "b": "a"}).select(table.columns)
    other = table.with_columns(y=pl.lit("q"))
    found = said(tables(pl.concat([table, swapped, other]), target="y"))
    assert "duplicates" not in [check for check, *_ in found]


def test_missing_values_of_both_sorts_are_alike() -> None:
    table = frame(x=[None] * N)
    table = table.with_columns(x=pl.lit(None, pl.Float64))
    as_nan = table.with_columns(x=pl.lit(float("nan")))
    assert ("duplicates", WARNING, None, N) in said(tables(pl.concat([table, as_nan])))


def test_test_rows_known_from_train() -> None:
    table = frame()
    for known, severity in ((5, INFO), (100, WARNING), (900, ERROR)):
        part = pl.concat([table[:known], frame(N - known)])
        assert said(tables(table, test=part)) == [("duplicates_across", severity, None, known)]


def test_a_table_that_repeats_itself_is_no_copy() -> None:
    coarse = pl.DataFrame({"x": np.tile(np.arange(10.0), 100)})
    assert ("duplicates_across", WARNING, None, N) in said(tables(coarse, test=coarse))


def test_keys() -> None:
    found = tables(frame(id=np.arange(N).astype(str)), test=frame(id=(np.arange(N) + N - 7).astype(str)), id=Role.KEY)
    assert said(found) == [("duplicate_keys", WARNING, "id", 7)]


@pytest.mark.parametrize("method, severity", [(SplitMethod.GROUPED, ERROR), (SplitMethod.RANDOM, WARNING)])
def test_groups_in_two_splits(method: SplitMethod, severity: Severity) -> None:
    settings = data_settings(split=split_settings(method, test=0.5))
    found = tables(frame(g=["a"] * N), test=frame(g=["a", "b"] * (N // 2)), settings=settings, g=Role.GROUP)
    assert said(found) == [("group_overlap", severity, "g", 500)]


def test_timestamps_after_the_moment_of_prediction() -> None:
    moments = [DAY + timedelta(hours=i) for i in range(N)]
    landed = [moment + timedelta(minutes=1 if i < 3 else -1) for i, moment in enumerate(moments)]
    table = frame(at=moments, landed=landed, same=moments)
    assert said(tables(table, at=Role.TIME)) == [("future", ERROR, "landed", 3)]
    declared = data_settings(allow_leaks=["landed"])
    assert said(tables(table, settings=declared, at=Role.TIME)) == [("future", INFO, "landed", 3)]


def test_a_test_table_older_than_train() -> None:
    settings = data_settings(split=split_settings(SplitMethod.TIME), test_path="test.csv")
    late, early = frame(t=[DAY] * N), frame(t=[DAY - timedelta(days=1)] * N)
    assert said(tables(late, test=early, settings=settings, t=Role.TIME)) == [("time_overlap", WARNING, "t", N)]


def test_splits_that_are_small_or_off_the_share() -> None:
    settings = data_settings(split=split_settings(SplitMethod.GROUPED, test=0.2))
    found = tables(frame(g=["a"] * N), test=frame(20, g=["b"] * 20), settings=settings, g=Role.GROUP)
    findings = list(row_checks.size(found))
    assert [finding.check for finding in findings] == ["few_rows", "few_rows", "off_share"]
    assert "2.0% of the rows, not 20.0%" in findings[-1].message


def test_check_sorts_by_severity_and_leaves_the_test_split_sealed() -> None:
    table = frame(constant=["a"] * N, y=GENERATOR.choice(["a", "b"], N)).with_columns(
        leak=(pl.col("y") == "a").cast(pl.Float64)
    )
    schema, target = schema_of(table, y=Role.TARGET), Target(name="y", objective=Objective.BINARY, classes=("a", "b"))
    made = split(table, schema, split_settings(), target)
    lost = pl.DataFrame({REASON: ["y: missing"] * 3})
    read = {"data.path": TypedTable(table=table, quarantined=lost)}
    found = quality.check(made, read, schema, data_settings(), target)
    severities = [finding.severity for finding in found]
    assert severities == sorted(severities, key=[ERROR, WARNING, INFO].index)
    assert {"leak", "constant", "quarantined"} <= {finding.check for finding in found}
    assert made.test.opened is None
    assert [look.purpose for look in made.test.inspected] == ["data checks"]
    with pytest.raises(QualityError, match=r"1 failed: leak.*'leak' alone predicts 'y'.*Remedy: if the value is only"):
        quality.stop_on_errors(found)


def test_columns_that_the_table_lacks_are_left_to_the_schema() -> None:
    table = frame(x=NOISE)
    schema = schema_of(table.with_columns(ignored=pl.lit("a")), ignored=Role.IGNORED)
    assert quality.check(split(table, schema, split_settings()), {}, schema, data_settings()) == []


@pytest.mark.parametrize("name", ["count", "rows", "value", "^.*$", "*", "", "noise ", "'; --", "ü\n{x}%s", "len"])
@pytest.mark.parametrize("as_target", [True, False])
def test_any_name_of_a_column_will_do(name: str, as_target: bool) -> None:
    table = frame(**{name: GENERATOR.choice(["a", "b"], N)}, other=GENERATOR.choice(["a", "b"], N))
    goal = name if as_target else "other"
    schema, target = schema_of(table, **{goal: Role.TARGET}), Target(name=goal, objective=Objective.BINARY, classes=())
    made = split(table, schema, split_settings(SplitMethod.STRATIFIED), target)
    assert {found.check for found in quality.check(made, {}, schema, data_settings(), target)} == {"strongest_column"}
    assert profile(made.train, schema)["columns"][name]["other"] == 0


def test_warnings_do_not_stop() -> None:
    quality.stop_on_errors([finding("missing", WARNING), finding("far_out", INFO)])


def test_every_error_is_listed_with_its_remedy() -> None:
    with pytest.raises(QualityError) as caught:
        quality.stop_on_errors([finding("leak", ERROR), finding("missing", WARNING), finding("personal", ERROR)])
    assert str(caught.value) == (
        "The data must pass every check (2 failed: leak, personal). Got:\n"
        "  leak in x\n    Remedy: mend leak\n  personal in x\n    Remedy: mend personal.\nRemedy: see each of them."
    )
