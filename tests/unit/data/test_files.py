"""Files of every format, odd CSVs, and what cannot be read."""

import gzip
import logging
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from table_settings import settings_for

from tidemill.data import sources
from tidemill.data.reading import collect
from tidemill.errors import SettingsError, SourceError

TABLE = pl.DataFrame({"a": [1, 2, 3], "b": ["x", None, "ü"]})


def texts(path: Path, **changes: object) -> dict[str, list[str | None]]:
    return sources.open(settings_for(path, **changes)).collect().to_dict(as_series=False)


def refusal(path: object, **changes: object) -> str:
    with pytest.raises((SourceError, SettingsError)) as caught:
        collect(sources.open(settings_for(path, **changes)))
    return str(caught.value)


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "t.feather", "t.jsonl", "t.ndjson", "t.csv", "t.csv.gz"])
def test_every_format_gives_the_same_table(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("parquet"):
        TABLE.write_parquet(path)
    elif name.endswith(("arrow", "feather")):
        TABLE.write_ipc(path)
    elif name.endswith(("jsonl", "ndjson")):
        TABLE.write_ndjson(path)
    else:
        content = TABLE.write_csv().encode()
        path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    frame = sources.open(settings_for(path))
    assert frame.collect().with_columns(pl.col("a").cast(pl.Int64)).equals(TABLE)


def test_arrow_streams_json_arrays_and_named_formats(tmp_path: Path) -> None:
    TABLE.write_ipc_stream(tmp_path / "t.arrow")
    TABLE.write_json(tmp_path / "t.json")
    TABLE.write_parquet(tmp_path / "t.bin")
    for name, form in (("t.arrow", "auto"), ("t.json", "auto"), ("t.bin", "parquet")):
        assert sources.open(settings_for(tmp_path / name, format=form)).collect().equals(TABLE)


def test_delta_tables_are_found_by_their_log(tmp_path: Path) -> None:
    TABLE.write_delta(tmp_path / "t")
    assert sources.open(settings_for(tmp_path / "t")).collect().equals(TABLE)
    assert "_delta_log" in refusal(tmp_path, format="delta")


def test_folders_and_globs_are_one_table(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    TABLE.write_parquet(tmp_path / "1.parquet")
    TABLE.select("b", pl.col("a").cast(pl.Float64) + 0.5).write_parquet(tmp_path / "deep" / "2.parquet")
    (tmp_path / "_SUCCESS").write_text("")
    (tmp_path / "README").write_text("not data")
    expected = [1, 2, 3, 1.5, 2.5, 3.5]
    assert sources.open(settings_for(tmp_path)).collect()["a"].to_list() == expected
    assert sources.open(settings_for(tmp_path / "**" / "*.parquet")).collect()["a"].to_list() == expected
    assert sources.open(settings_for(tmp_path, limit=4)).collect()["a"].to_list() == expected[:4]


def test_a_file_named_like_a_glob_is_itself(tmp_path: Path) -> None:
    TABLE.write_csv(tmp_path / "t[1].csv")
    TABLE.write_parquet(tmp_path / "t[1].parquet")
    for ending in ("csv", "parquet"):
        assert sources.open(settings_for(tmp_path / f"t[1].{ending}")).collect().height == 3


def test_the_test_table_is_read_like_the_first(tmp_path: Path) -> None:
    TABLE.write_csv(tmp_path / "train.csv")
    TABLE.head(1).write_csv(tmp_path / "test.csv")
    settings = settings_for(tmp_path / "train.csv", test_path=str(tmp_path / "test.csv"))
    test = sources.open_separate(settings, "test")
    assert test is not None
    assert test.collect().height == 1
    assert sources.open_separate(settings_for(tmp_path / "train.csv"), "test") is None


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators_are_found(tmp_path: Path, separator: str) -> None:
    lines = [
        ["name", "price", "note"],
        ["a", "1.5", "x"],
        ["b", "", '"q' + separator + 'r\nsecond ""line"""'],
        ["c", "3", ""],
    ]
    (tmp_path / "t.csv").write_text("\n".join(separator.join(line) for line in lines) + "\n")
    expected = {
        "name": ["a", "b", "c"],
        "price": ["1.5", None, "3"],
        "note": ["x", f'q{separator}r\nsecond "line"', None],
    }
    assert texts(tmp_path / "t.csv") == expected


def test_an_odd_csv_is_read_as_it_is_meant(tmp_path: Path) -> None:
    content = '\ufeffName ; Größe;leer;wann\r\n Ann ;1,5;;01.02.2013\r\n"B;\r\nob";12,25;;28.2.2014\r\n'
    (tmp_path / "t.csv").write_bytes(content.encode())
    assert texts(tmp_path / "t.csv") == {
        "Name": [" Ann ", "B;\r\nob"],
        "Größe": ["1,5", "12,25"],
        "leer": [None, None],
        "wann": ["01.02.2013", "28.2.2014"],
    }


def test_decimal_commas_do_not_pass_for_separators(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a;b\n1,5;2,5\n3,5;4,5\n")
    assert texts(tmp_path / "t.csv") == {"a": ["1,5", "3,5"], "b": ["2,5", "4,5"]}


def test_one_column_needs_no_separator(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a\n1\n2\n")
    assert texts(tmp_path / "t.csv") == {"a": ["1", "2"]}


def test_latin_1_is_read_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = "".join(f"{i},plain\n" for i in range(100_000))
    (tmp_path / "t.csv").write_bytes(("a,b\n" + rows + "7,naïve\n").encode("latin-1"))
    with caplog.at_level(logging.WARNING):
        assert texts(tmp_path / "t.csv")["b"][-1] == "naïve"
    assert "is not UTF-8 (byte 0xef)" in caplog.text
    (tmp_path / "undefined.csv").write_bytes(b"a,b\n1,\x81\n")
    assert texts(tmp_path / "undefined.csv")["b"] == ["\x81"]


def test_encodings_can_be_named_and_utf_16_is_seen(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("a\tb\n1\té\n".encode("utf-16"))
    assert texts(tmp_path / "t.csv") == {"a": ["1"], "b": ["é"]}
    (tmp_path / "k.csv").write_bytes("a,b\n1,ł\n".encode("cp1250"))
    assert texts(tmp_path / "k.csv", options={"encoding": "cp1250"})["b"] == ["ł"]
    assert "must be ascii" in refusal(tmp_path / "k.csv", options={"encoding": "ascii"})
    assert "must be a text encoding" in refusal(tmp_path / "k.csv", options={"encoding": "klingon"})


def test_a_file_without_a_header_line_gets_its_names_by_setting(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("1,1\n2,3\n")
    assert texts(tmp_path / "t.csv", options={"columns": ["a", "b"]}) == {"a": ["1", "2"], "b": ["1", "3"]}
    assert "1 names for 2 columns" in refusal(tmp_path / "t.csv", options={"columns": ["a"]})


def test_many_quoted_newlines_do_not_shift_rows(tmp_path: Path) -> None:
    with (tmp_path / "t.csv").open("w") as stream:
        stream.write("i,text,j\n")
        stream.writelines(f'{i},"one\n""{i}"",two\n",{i}\n' for i in range(200_000))
    table = sources.open(settings_for(tmp_path / "t.csv")).collect()
    assert table.height == 200_000
    assert (table["i"] == table["j"]).all()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("twice.csv", b"a,b,a\n1,2,3\n", "'a' more than once"),
        ("unnamed.csv", b"a,,c\n1,2,3\n", "column 2 of 3"),
        ("blank.csv", b"\n\n", "must have a header line"),
        ("empty.csv", b"", "is empty (0 bytes)"),
        ("ragged.csv", b"a,b\n1,2\n1,2,3\n", "line 3 of "),
        ("parquet.csv", b"PAR1....", "is Parquet"),
        ("excel.csv", b"PK\x03\x04....", "Excel"),
        ("zeros.csv", b"a,b\n\0\0,1\n", "binary data"),
        ("text.parquet", b"a,b\n1,2\n", "is not Parquet"),
        ("broken.parquet", b"PAR1 and no more", "must be readable to its end"),
        ("text.arrow", b"a,b\n1,2\n", "is not Arrow IPC"),
        ("text.jsonl", b"hello\n", "is not JSON Lines"),
        ("broken.jsonl", b'{"a": 1}\n{"a": \n', "line 2 of "),
        ("table.xlsx", b"PK\x03\x04....", "save the sheet as CSV"),
        ("table.xyz", b"a,b\n", "set data.format to one of csv, parquet"),
        ("nameless.jsonl", b'{"": 1}\n', "Every column must have a name"),
    ],
)
def test_what_is_no_table_is_refused_with_the_reason(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert said in refusal(tmp_path / name)


def test_paths_that_lead_nowhere_name_the_nearest(tmp_path: Path) -> None:
    TABLE.write_csv(tmp_path / "flights.csv")
    assert f"did you mean {tmp_path / 'flights.csv'}?" in refusal(tmp_path / "fligths.csv")
    assert str(tmp_path) in refusal(tmp_path / "no" / "such" / "zzzz")
    assert "matches none" in refusal(tmp_path / "*.parquet")
    (tmp_path / "hollow").mkdir()
    assert "A folder must hold files" in refusal(tmp_path / "hollow")


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    TABLE.write_csv(tmp_path / "1.csv")
    TABLE.rename({"b": "c"}).write_csv(tmp_path / "2.csv")
    assert "differ in 'b', 'c'" in refusal(tmp_path)
    TABLE.write_parquet(tmp_path / "3.parquet")
    assert "1.csv (csv)" in refusal(tmp_path)


def test_settings_of_files_are_checked(tmp_path: Path) -> None:
    TABLE.write_csv(tmp_path / "t.csv")
    assert "set data.format=parquet" in refusal(tmp_path / "t.csv", format="parqet")
    assert "did you mean data.options.separator?" in refusal(tmp_path / "t.csv", options={"seperator": ";"})
    assert "must be one character" in refusal(tmp_path / "t.csv", options={"separator": "::"})
    assert "set data.path=FILE" in refusal(None)
    assert "data.source must name a module" in refusal(tmp_path / "t.csv", source="filez")


def test_remote_csv_is_sniffed_through_polars(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a;b\n1;2,5\n")
    assert texts(f"file://{tmp_path}/t.csv") == {"a": ["1"], "b": ["2,5"]}  # type: ignore[arg-type]
    (tmp_path / "l.csv").write_bytes("a;b\n1;é\n".encode("latin-1"))
    assert "set data.options.encoding" in refusal(f"file://{tmp_path}/l.csv")
    options = {"encoding": "latin-1"}
    assert texts(f"file://{tmp_path}/l.csv", options=options)["b"] == ["é"]  # type: ignore[arg-type]


def test_a_source_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text("")
    (tmp_path / "mine" / "rows.py").write_text(
        "import polars as pl\ndef read(settings):\n    return pl.LazyFrame({'a': [1, 2, 3]})\n"
    )
    (tmp_path / "mine" / "other.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert sources.open(settings_for(source="mine.rows", limit=2)).collect().height == 2
    assert "with a function read()" in refusal(None, source="mine.other")


def test_importing_sources_is_light() -> None:
    heavy = "{'torch', 'pyarrow', 'pandas', 'deltalake'}"
    code = f"import sys, tidemill.data.sources; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
