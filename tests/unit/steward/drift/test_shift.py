"""Two tables beside each other, or a table beside a bundle: what has moved is named first, and nothing else."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from small_bundle import Small
from tidemill import cli
from tidemill.data.profiles.profile import profile, profile_like
from tidemill.data.schema import Column, Schema
from tidemill.errors import BundleError, SchemaError, SourceError
from tidemill.report import drift_page
from tidemill.settings import Kind
from tidemill.steward.drift import shift


def made(seed: int, rows: int = 2000) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "id": [f"r{row}" for row in range(rows)],
            "size": random.normal(50, 20, rows),
            "price": random.lognormal(3, 1, rows),
            "city": random.choice(["Bern", "Rome", "Oslo"], rows, p=[0.5, 0.3, 0.2]),
            "open": random.random(rows) < 0.4,
            "at": [f"2024-0{1 + month}-11 10:00:00" for month in random.integers(0, 9, rows)],
        }
    )


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, ...]:
    reference, same = tmp_path / "reference.csv", tmp_path / "same.parquet"
    made(0).write_csv(reference)
    made(1).write_parquet(same)
    return reference, same


def moved(table: pl.DataFrame) -> pl.DataFrame:
    """Inches for centimetres, a new city in three of ten rows, a fifth of the prices missing."""
    chance = np.random.default_rng(2).random(table.height)
    return table.with_columns(
        size=pl.col("size") / 2.54,
        city=pl.when(pl.Series(chance < 0.3)).then(pl.lit("Łódź")).otherwise("city"),
        price=pl.when(pl.Series(chance > 0.8)).then(None).otherwise("price"),
    )


def test_a_table_has_not_drifted_from_itself_nor_from_another_draw(tables: tuple[Path, ...]) -> None:
    reference, same = map(str, tables)
    for file in (reference, same):
        found = shift.compare(reference, file)
        assert not found.drifted and not found.absent and not found.added
        assert [one.column for one in found.shifts] and all(not one.says for one in found.shifts)
    assert all(one.effect == 0 for one in shift.compare(reference, reference).shifts)


def test_false_names_are_rare() -> None:
    """By e-BH at most a twentieth; the bound of the e-values makes it less."""
    named = 0
    for seed in range(20):
        entries = profile(made(seed, 300), Schema(columns=COLUMNS))["columns"]
        live = made(100 + seed, 300)
        found = shift._shifts(entries, profile_like(live, {"columns": entries}), live, dict.fromkeys(entries, 0.0))
        named += any(one.drifted for one in found)
    assert named == 0


COLUMNS = tuple(
    Column(name=name, kind=Kind(kind))
    for name, kind in (("size", "numeric"), ("price", "numeric"), ("city", "categorical"), ("open", "boolean"))
)


def test_what_has_moved_is_named_first_and_says_how(tables: tuple[Path, ...], tmp_path: Path) -> None:
    file = tmp_path / "moved.parquet"
    moved(made(1)).with_columns(extra=1).drop("open").write_parquet(file)
    found = shift.compare(str(tables[0]), str(file))
    assert found.drifted and found.absent == ("open",) and found.added == ("extra",)
    assert {one.column for one in found.shifts[:3]} == {"size", "city", "price"}
    assert [one.drifted for one in found.shifts] == [True] * 3 + [False] * (len(found.shifts) - 3)
    by_name = {one.column: one for one in found.shifts}
    assert "as if the unit had changed" in by_name["size"].says and by_name["size"].effect > 0.5
    assert by_name["city"].unseen == ("Łódź",) and by_name["city"].unseen_share == pytest.approx(0.3, abs=0.05)
    assert (by_name["price"].missing_before, by_name["price"].missing) == (0.0, pytest.approx(0.2, abs=0.05))
    assert "missing values" in by_name["price"].says
    assert not by_name["at"].drifted


def test_moments_are_shown_and_not_named(tables: tuple[Path, ...], tmp_path: Path) -> None:
    later = made(1).with_columns(at=pl.col("at").str.replace("2024", "2031"))
    later.write_parquet(tmp_path / "later.parquet")
    found = shift.compare(str(tables[0]), str(tmp_path / "later.parquet"))
    (at,) = (one for one in found.shifts if one.column == "at")
    assert at.effect == 1.0 and at.unseen_share == 1.0 and not at.drifted and at.unseen[0].startswith("2031-")
    assert not found.drifted


def test_columns_of_another_type_and_values_that_cannot_be_read(tables: tuple[Path, ...], tmp_path: Path) -> None:
    wrong = made(1).with_columns(open=pl.Series([[1]] * 2000), size=pl.lit("tall"))
    wrong.write_parquet(tmp_path / "wrong.parquet")
    found = shift.compare(str(tables[0]), str(tmp_path / "wrong.parquet"))
    by_name = {one.column: one for one in found.shifts}
    assert by_name["open"].drifted and "of type List" in by_name["open"].says
    assert by_name["size"].drifted and by_name["size"].unreadable == 1.0
    assert "100.0% of values are not numeric" in drift_page.line(by_name["size"])[-1]


def test_a_bundle_is_compared_by_its_own_profile(small: Small, tmp_path: Path) -> None:
    file = tmp_path / "live.parquet"
    small.table.drop(small.target.name).write_parquet(file)
    found = shift.compare(str(small.folder), str(file))
    assert not found.drifted and found.absent == () and all(one.effect == 0 for one in found.shifts)
    small.table.with_columns(city=pl.lit("Łódź")).write_parquet(file)
    found = shift.compare(str(small.folder), str(file))
    assert [one.column for one in found.shifts if one.drifted] == ["city"]


def test_what_cannot_be_compared_is_said(tables: tuple[Path, ...], small: Small, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SchemaError, match=r"columns in common\. Got: .*other\.csv has a, b\. Remedy: .*size, price"):
        shift.compare(str(tables[0]), str(tmp_path / "other.csv"))
    with pytest.raises(SourceError, match=r"A table that is named must exist\. Got: no file .*none\.csv") as caught:
        shift.compare(str(tables[0]), str(tmp_path / "none.csv"))
    assert "data." not in str(caught.value)
    shutil.copytree(small.folder, tmp_path / "bundle")
    (tmp_path / "bundle" / "profile.json").write_text("{")
    with pytest.raises(BundleError, match=r"has a reference profile\. Got: .*profile\.json"):
        shift.compare(str(tmp_path / "bundle"), str(tables[0]))


def test_the_command_says_it_to_people_programs_and_on_a_page(
    tables: tuple[Path, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference, same = map(str, tables)
    file = tmp_path / "<moved>.parquet"
    moved(made(1)).write_parquet(file)
    assert cli.main(["drift", reference, same]) == 0
    assert "No drift: " in capsys.readouterr().out
    page = tmp_path / "page.html"
    assert cli.main(["drift", reference, str(file), "--html", str(page)]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "3 of 5 columns have drifted."
    assert [line.split()[:2] for line in lines[5:8]] == [["DRIFT", name] for name in ("size", "city", "price")]
    text = page.read_text()
    assert "<moved>" not in text and "&lt;moved&gt;" in text and "Łódź" in text
    assert "<script" not in text and "http" not in text.replace("http-equiv", "")
    assert cli.main(["drift", "--json", reference, str(file)]) == 3
    told = json.loads(capsys.readouterr().out)
    assert told["drifted"] and told["columns"][0]["column"] == "size" and told["rows"] == 2000
    assert cli.main(["drift", reference, str(file), "--html", str(tmp_path / "no" / "page.html")]) == 1
    assert "--html names a file that can be written" in capsys.readouterr().err
