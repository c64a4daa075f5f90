"""Files as people have them: what is read all the same, and what is refused with its line, the cause and a remedy."""

import gzip
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from polars.exceptions import PanicException
from table_settings import TABLE, settings_for

from tidemill.bulk import lines
from tidemill.data import infer, sources, typed
from tidemill.data.reading import collect
from tidemill.errors import SettingsError, SourceError
from tidemill.settings import Kind

ROWS = ["x,z,colour", *(f"{i}.5,{i},{'red' if i % 2 else 'blue'}" for i in range(20))]


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def table(path: Path, **changes: object) -> pl.DataFrame:
    return collect(sources.open(settings_for(path, **changes)))


def refusal(path: Path, **changes: object) -> str:
    with pytest.raises((SourceError, SettingsError)) as caught:
        table(path, **changes)
    return str(caught.value)


def test_excels_first_line_names_the_separator_and_is_no_row(tmp_path: Path) -> None:
    plain = table(written(tmp_path / "p.csv", "\n".join(ROWS).replace(",", ";")))
    for ending in ("\n", "\r\n"):
        path = written(tmp_path / "t.csv", "\ufeff" + ending.join(["sep=;", *ROWS]).replace(",", ";"))
        assert table(path).equals(plain)


def test_quotation_marks_inside_values_are_read_as_they_stand_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path / "t.csv", 'size,y\nplain,yes\n5" pipe,no\n"7"" pipe, long",yes\n3",no\n')
    assert table(path)["size"].to_list() == ["plain", '5" pipe', '7" pipe, long', '3"']
    assert "first in line 3 ('5\" pipe,no')" in caplog.text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('a,b\n1,"x\n2,z\n3,z\n', ["begins in line 2", "never closed", "mend line 2"]),
        ('a,b\n0,y\n1,"x"y\n2,z\n', ["begins in line 3", "goes on behind", "mend line 3"]),
        ("a,b\n1,2\n1,2,3\n", ["line 3 of ", "has 3 fields, the first line 2: '1,2,3'"]),
        ("sep=,\na,b\n1,2\n1,2,3\n", ["line 4 of "]),
    ],
)
def test_a_line_that_does_not_fit_is_named(tmp_path: Path, content: str, said: list[str]) -> None:
    found = refusal(written(tmp_path / "t.csv", content))
    assert all(words in found for words in said), found


def test_blank_lines_are_no_rows_but_in_one_column_missing_values(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        doubled = table(written(tmp_path / "t.csv", "\n\n".join(ROWS) + "\n\n\n"))
    assert doubled.equals(table(written(tmp_path / "p.csv", "\n".join(ROWS))))
    assert "blank lines, which are skipped" in caplog.text
    quoted = table(written(tmp_path / "q.csv", 'a,b\r\n1,"one\r\n\r\ntwo"\r\n\r\n2,x\r\n'))
    assert quoted["b"].to_list() == ["one\r\n\r\ntwo", "x"]
    assert table(written(tmp_path / "one.csv", "a\n1\n\n2\n"))["a"].to_list() == ["1", None, "2"]


SHORT = 'a,b,c\n1,2,\n3\n"x, y",5\n"two\nlines",6,7\n8,9\n"x, y",,\n'


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (SHORT, "3 lines (lines 3, 4, 7)"),
        (SHORT.replace("\n3\n", "\n\n3\n"), "3 lines (lines 4, 5, 8)"),
        (SHORT.encode("utf-16"), "3 lines (lines 3, 4, 7)"),
        (SHORT.replace("\n", "\r\n"), "3 lines (lines 3, 4, 7)"),
        ("sep=;\n" + SHORT.replace(",", ";"), "3 lines (lines 4, 5, 8)"),
        ('size,y,z\nplain,yes,\n5" pipe,no,1\n7\n"9"" pipe, long",yes,2\n', "one line (line 4)"),
        ("a,b\n" + "1\n" * 9, "9 lines (lines 2, 3, 4, 5, 6 …)"),
    ],
)
def test_lines_that_end_too_early_are_counted_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str | bytes, lines: str
) -> None:
    path = written(tmp_path / "t.csv", content)
    rows = table(path)
    assert f"{path} has fewer fields than its {rows.width} columns in {lines}; " in caplog.text
    assert rows[rows.columns[-1]].null_count() > 0


def test_lines_that_end_too_early_are_named_in_a_compressed_file_and_only_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path / "t.csv.gz", gzip.compress(SHORT.encode()))
    table(path)
    table(path)
    assert caplog.text.count("in 3 lines (lines 3, 4, 7)") == 1


def test_a_long_quoted_text_is_no_short_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table(written(tmp_path / "t.csv", f'a,b\n"{"long, " * 50_000}",\n1\n'))
    assert "one line (line 3)" in caplog.text


@pytest.mark.parametrize("content", ['a,b,c\n1,,\n"x, y",2,\n"",,""\n', "a\n1\n\n2\n", "a,b\n1,\n\n2,3\n"])
def test_whole_lines_with_missing_values_are_not_short(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    table(written(tmp_path / "t.csv", content))
    assert "fewer fields" not in caplog.text


def test_old_line_ends_are_line_ends(tmp_path: Path) -> None:
    assert table(written(tmp_path / "t.csv", "a,b\r1,2\r3,4\r")).rows() == [("1", "2"), ("3", "4")]


@pytest.mark.parametrize("above", [["Sales report 2024", "by the finance tool", ""], ["Report, 2024"], ["# made by x"]])
def test_lines_above_the_header_are_told_with_the_setting_that_skips_them(tmp_path: Path, above: list[str]) -> None:
    path = written(tmp_path / "t.csv", "\n".join([*above, *ROWS]))
    said = refusal(path)
    assert f"begin in line {len(above) + 1}: 'x,z,colour'" in said
    assert f"set data.options.skip_lines={len(above)}," in said
    skipped = table(path, options={"skip_lines": len(above)})
    assert skipped.equals(table(written(tmp_path / "p.csv", "\n".join(ROWS))))
    assert "data.options.skip_lines = '3': must be a whole number" in refusal(path, options={"skip_lines": "3"})


def test_names_lose_the_quoting_of_csv(tmp_path: Path) -> None:
    assert table(written(tmp_path / "t.csv", '"say ""hi""","a\nb",c\n1,2,3\n')).columns == ['say "hi"', "a\nb", "c"]


@pytest.mark.parametrize("name", ["t.csv.gz", "t.jsonl.gz"])
def test_compressed_files_that_were_cut_short_say_so(tmp_path: Path, name: str) -> None:
    records = "\n".join(json.dumps({"x": i, "y": f"some text {i * i}"}) for i in range(2_000))
    content = gzip.compress(("x,y\n1,2\n" * 2_000 if "csv" in name else records).encode())
    said = refusal(written(tmp_path / name, content[: len(content) // 2]))
    assert "it is cut short or damaged" in said
    assert name in said


@pytest.mark.parametrize(("name", "remedy"), [("t.csv.zip", "unzip it"), ("t.tar.gz", "tar -xf"), ("t.xls", "as CSV")])
def test_what_is_packed_is_told_how_to_unpack(tmp_path: Path, name: str, remedy: str) -> None:
    assert remedy in refusal(written(tmp_path / name, b"PK\x03\x04 and more"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"x": NaN, "y": 1}', "NaN is no JSON number; write null"),
        ('{"x": 1.5, "y": ', "ends before its record does"),
        ("{'x': 1}", "at character 2"),
        ("[1, 2]", "no object of column: value"),
    ],
)
def test_json_lines_name_the_line_and_the_cause(tmp_path: Path, line: str, said: str) -> None:
    good = '{"x": 1.5, "y": 2}'
    path = written(tmp_path / "t.jsonl", "\n".join([good, "", good, line, good]))
    found = refusal(path)
    assert f"line 4 of {path}" in found
    assert said in found
    numbered = lines.parse([good.encode(), line.encode(), good.encode()], 10)
    assert numbered[0].height == 2
    assert numbered[2].item(0, 0) == 11


def test_json_arrays_name_the_place(tmp_path: Path) -> None:
    assert "line 2 column" in refusal(written(tmp_path / "t.json", '[{"x": 1},\n{"x": ]'))


def test_zones_that_polars_does_not_know_are_read(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    moments = pa.array([0, 3_600_000_000], pa.timestamp("us", tz="+05:30"))
    arrow = pa.table({"when": moments, "x": [1, 2]})
    pq.write_table(arrow, tmp_path / "t.parquet")
    with pa.ipc.new_file(tmp_path / "t.arrow", arrow.schema) as file:
        file.write_table(arrow)
    for name in ("t.parquet", "t.arrow"):
        settings = settings_for(tmp_path / name, target="x")
        frame = sources.open(settings)
        read = typed.apply(frame, infer.infer(frame, settings)).table
        assert read["when"].to_physical().to_list() == [0, 3_600_000_000]


def test_a_panic_of_polars_is_an_error_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pl.LazyFrame({"x": [1]})

    def panic(self: pl.LazyFrame) -> pl.DataFrame:
        raise PanicException("called `Result::unwrap()` on an `Err` value")

    monkeypatch.setattr(pl.LazyFrame, "collect", panic)
    with pytest.raises(SourceError, match=r"it gave up: called .*store the table anew"):
        collect(frame)


READ = """
import sys
from pathlib import Path
import yaml
from tidemill.composition import build
from tidemill.data import sources
from tidemill.errors import SourceError
from tidemill.settings import DataSettings
values = yaml.safe_load(Path(sys.argv[1]).read_text())
for file in sys.argv[2:]:
    try:
        print(sources.open(build(DataSettings, {**values, "path": file}, "data")).collect_schema().names())
    except SourceError as error:
        print(error, file=sys.stderr)
"""


@pytest.mark.parametrize("backtrace", ["0", "1"])
def test_what_rust_writes_of_a_panic_does_not_reach_the_console(tmp_path: Path, backtrace: str) -> None:
    import pyarrow as pa

    union = pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])])
    spans = pa.array([pa.MonthDayNano([1, 2, 3]), None], pa.month_day_nano_interval())
    for name, column in (("union", union), ("spans", spans), ("fine", pa.array([1, 2]))):
        table = pa.table({name: column})
        with pa.OSFile(str(tmp_path / f"{name}.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    latin = written(tmp_path / "latin.csv", "caf\xe9,x\n1,2\n".encode("latin-1"))
    files = [str(tmp_path / f"{name}.arrow") for name in ("union", "spans", "fine")]

    def read(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *options, "-c", READ, str(TABLE), *files, str(latin)]
        environment = {**os.environ, "RUST_BACKTRACE": backtrace}
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment)

    quiet = read()
    assert quiet.stdout.splitlines() == ["['fine']", "['caf\xe9', 'x']"]
    lines = quiet.stderr.splitlines()
    assert len(lines) == 3, "two errors, and a warning of ours, which is not kept back for good"
    assert all("it gave up" in line and "Remedy: store the table anew" in line for line in lines[:2])
    assert "latin.csv is not UTF-8" in lines[2]
    assert "panicked at" in read("-W", "default").stderr, "for who looks into it"


def test_folders_that_are_named_by_values_are_columns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for year, part in ((2022, "a%20b"), (2023, "c"), (2024, "__HIVE_DEFAULT_PARTITION__")):
        folder = tmp_path / f"year={year}" / f"part={part}"
        folder.mkdir(parents=True)
        pl.DataFrame({"x": [year / 2, 1.0]}).write_parquet(folder / "0.parquet")
    with caplog.at_level(logging.INFO):
        whole = table(tmp_path)
    assert whole["year"].to_list() == [2022, 2022, 2023, 2023, 2024, 2024]
    assert whole["part"].to_list() == ["a b", "a b", "c", "c", None, None]
    assert "year is a column by names of folders, with 2022, 2023, 2024" in caplog.text
    one = table(tmp_path / "year=2023")
    assert one["year"].to_list() == [2023, 2023]
    settings = settings_for(tmp_path, target="x")
    assert infer.infer(sources.open(settings), settings)["year"].kind is Kind.NUMERIC


def test_lists_in_messages_are_bounded(tmp_path: Path) -> None:
    names = ",".join(f"column_{i}" for i in range(500))
    path = written(tmp_path / "t.csv", f"{names},{names}\n")
    assert len(refusal(path)) < 1_000
    for number in range(30):
        written(tmp_path / "many" / f"{number}.csv", "a\n1\n") if number else (tmp_path / "many").mkdir()
    written(tmp_path / "many" / "x.jsonl", '{"a": 1}\n')
    assert len(refusal(tmp_path / "many")) < 1_000
