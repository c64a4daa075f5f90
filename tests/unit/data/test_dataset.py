"""From a file to checked splits: what a run's folder then holds, and what is refused before work is wasted."""

import random
from pathlib import Path

import polars as pl
import pytest
from table_settings import settings_for

from tidemill.data import dataset, infer, schema_file, sources
from tidemill.data.checks.findings import Severity
from tidemill.data.schema import Role, Schema
from tidemill.errors import SchemaError

ROWS = 400


@pytest.fixture
def file(tmp_path: Path) -> Path:
    draw = random.Random(0)
    lines = [f"{draw.gauss(0, 1):.4f},{draw.choice('abc')},{draw.choice(['no', 'yes'])}" for _ in range(ROWS)]
    path = tmp_path / "table.csv"
    path.write_text("x,kind,bought\n" + "\n".join(lines), encoding="utf-8")
    return path


def test_the_folder_gets_the_schema_and_the_rows_kept_out(file: Path, tmp_path: Path) -> None:
    wanted = settings_for(file, target="bought", quality={"domains": {"kind": ["a", "b"]}, "max_quarantined": 0.9})
    found = dataset.load(wanted, tmp_path)
    kept_out = pl.read_parquet(tmp_path / "quarantine.parquet")
    assert schema_file.read(tmp_path / "schema.yaml") == found.schema
    assert found.quarantined == kept_out.height > 0
    assert set(kept_out["kind"]) == {"c"}
    assert found.target.classes == ("no", "yes")
    splits = found.splits
    assert splits.train.height + splits.validation.height + splits.test.rows + kept_out.height == ROWS
    assert splits.test.opened is None


def test_a_missing_target_is_named_before_the_table_is_read(file: Path, tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"data\.target must name.*one of x, kind, bought"):
        dataset.load(settings_for(file), tmp_path)
    assert not (tmp_path / "schema.yaml").exists()


def test_a_pinned_schema_must_have_a_target(file: Path, tmp_path: Path) -> None:
    dataset.load(settings_for(file, target="bought"), tmp_path)
    pinned = tmp_path / "schema.yaml"
    pinned.write_text(pinned.read_text().replace("role: target", "role: feature"))
    with pytest.raises(SchemaError, match=r"data\.target must name.*one of x, kind, bought"):
        dataset.load(settings_for(file, schema=str(pinned)), tmp_path)


def test_a_pinned_schema_brings_its_target(file: Path, tmp_path: Path) -> None:
    first = dataset.load(settings_for(file, target="bought"), tmp_path)
    again = dataset.load(settings_for(file, schema=str(tmp_path / "schema.yaml")), tmp_path)
    assert again.target == first.target
    assert again.fingerprint == first.fingerprint


def test_the_console_says_what_to_do_beside_each_warning(
    file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="tidemill")
    found = dataset.load(settings_for(file, target="bought"), tmp_path)
    warnings = [finding for finding in found.findings if finding.severity is Severity.WARNING]
    assert len(warnings) >= 2
    lines = "\n".join(record.getMessage() for record in caplog.records)
    for finding in warnings:
        after = lines[lines.index(f"warning: {finding.message}") :]
        assert after.split("  what to do: ")[1].startswith(finding.remedy)


def test_a_name_with_a_line_break_is_shown_in_one_line(
    file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="tidemill")
    file.write_text(file.read_text().replace("kind", '"first\nsecond"', 1))
    dataset.load(settings_for(file, target="bought"), tmp_path)
    assert "\n  'first\\nsecond'  categorical  feature" in caplog.text


@pytest.mark.slow
def test_a_wide_table_fills_no_screen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file, draw = tmp_path / "wide.csv", random.Random(0)
    rows = [[draw.choice(["", "", "", f"{draw.gauss(0, 1):.3f}"]) for _ in range(300)] for _ in range(100)]
    lines = [",".join([*row, draw.choice(["no", "yes"])]) for row in rows]
    file.write_text("\n".join([",".join([*(f"c{i}" for i in range(300)), "bought"]), *lines]))
    caplog.set_level("INFO", logger="tidemill")
    found = dataset.load(settings_for(file, target="bought"), tmp_path)
    missing = [finding for finding in found.findings if finding.check == "missing"]
    assert len(missing) > 250
    assert f"{len(missing) - 5} more of the check 'missing'; the report lists all" in caplog.text
    assert "and 241 more columns, in the file" in caplog.text
    assert len(caplog.text.splitlines()) < 100


def test_columns_that_are_left_out_show_what_they_hold(tmp_path: Path) -> None:
    file = tmp_path / "left.csv"
    file.write_text(
        "n,when,flag,word,x,y\n" + "\n".join(f"{i},2020-01-{i % 28 + 1:02},true,w,{i % 7},{i % 2}" for i in range(90))
    )
    found = infer.infer(
        sources.open(settings_for(file)), settings_for(file, target="y", ignored=["n", "when", "flag", "word"])
    )
    kinds = {column.name: str(column.kind) for column in found.with_role(Role.IGNORED)}
    assert kinds == {"n": "numeric", "when": "timestamp", "flag": "boolean", "word": "categorical"}
    schema_file.write(Schema(columns=found.columns[4:]), tmp_path / "pinned.yaml")
    pinned = infer.infer(sources.open(settings_for(file)), settings_for(file, schema=str(tmp_path / "pinned.yaml")))
    assert {column.name: str(column.kind) for column in pinned.with_role(Role.IGNORED)} == kinds


def repeated(path: Path) -> Path:
    draw = random.Random(1)
    lines = [f"{draw.gauss(0, 1):.6f},{draw.choice(['no', 'yes'])}" for _ in range(300)]
    path.write_text("x,bought\n" + "\n".join([*lines, *lines[:100]]), encoding="utf-8")
    return path


def known(found: dataset.Dataset) -> int:
    test = found.splits.test.open("compare")
    return int(test["x"].is_in(found.splits.train["x"].implode()).sum())


@pytest.mark.parametrize(("rule", "dropped"), [("keep", 0), ("drop", 100), ("group", 0)])
def test_what_becomes_of_rows_that_repeat_others(tmp_path: Path, rule: str, dropped: int) -> None:
    table = repeated(tmp_path / "repeated.csv")
    found = dataset.load(settings_for(table, target="bought", quality={"duplicates": rule}), tmp_path)
    splits = found.splits
    assert found.dropped == dropped
    assert splits.train.height + splits.validation.height + splits.test.rows == 400 - dropped
    assert (known(found) > 0) == (rule == "keep")


def test_a_separate_validation_table(file: Path, tmp_path: Path) -> None:
    plain = dataset.load(settings_for(file, target="bought"), tmp_path)
    more = tmp_path / "validation.csv"
    lines = [f"{place / 7:.4f},{'abc'[place % 3]},{['no', 'yes'][place % 2]}" for place in range(100)]
    more.write_text("x,kind,bought\n" + "\n".join(lines))
    found = dataset.load(settings_for(file, target="bought", validation_path=str(more)), tmp_path)
    assert (found.splits.train.height, found.splits.validation.height, found.splits.test.rows) == (320, 100, 80)
    assert found.fingerprint != plain.fingerprint
