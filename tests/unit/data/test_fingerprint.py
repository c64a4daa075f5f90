"""Equal content, equal fingerprint; anything else, another."""

from datetime import datetime
from pathlib import Path

import polars as pl
import pytest
from table_settings import settings_for

from tidemill.data import fingerprint as module, infer, sources, typed
from tidemill.data.fingerprint import fingerprint

TABLE = pl.DataFrame(
    {
        "n": [1.0, -0.0, None, float("inf")],
        "b": [True, None, False, True],
        "s": ["a", "", None, "bü"],
        "t": [datetime(2013, 1, 1), None, datetime(1, 1, 1), datetime(9999, 1, 1)],
    }
)


def test_the_fingerprint_is_fixed_for_ever() -> None:
    assert fingerprint(TABLE) == "f63d9c1426606268e8ff8f3c57f4d925db5e1eba5550ada09abe93476a530d64"


def test_chunks_and_stand_ins_for_missing_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = fingerprint(TABLE)
    assert fingerprint(pl.concat([TABLE[:1], TABLE[1:]], rechunk=False)) == expected
    assert fingerprint(TABLE.with_columns(pl.col("n").fill_null(float("nan")))) == expected
    assert fingerprint(TABLE.with_columns(pl.col("t").dt.replace_time_zone("UTC"))) == expected
    monkeypatch.setattr(module, "ROWS", 3)
    assert fingerprint(TABLE) == expected


@pytest.mark.parametrize(
    "other",
    [
        TABLE[::-1],
        TABLE[:3],
        TABLE.select("b", "n", "s", "t"),
        TABLE.rename({"n": "m"}),
        TABLE.drop("t"),
        TABLE.with_columns(pl.col("s").fill_null("")),
        TABLE.with_columns(s=pl.Series(["", "a", None, "bü"])),
        TABLE.with_columns(pl.col("b").cast(pl.Float64)),
        TABLE.with_columns(pl.col("n") + 1e-9),
        TABLE.with_columns(pl.col("t") + pl.duration(microseconds=1)),
        TABLE.clear(),
    ],
)
def test_any_other_content_differs(other: pl.DataFrame) -> None:
    assert fingerprint(other) != fingerprint(TABLE)


def test_the_file_format_does_not_matter(tmp_path: Path) -> None:
    table = pl.DataFrame({"x": [1, 2, 3, 4] * 50, "s": ["p", "q", None, "q"] * 50, "b": [True, False] * 100})
    table.write_parquet(tmp_path / "t.parquet")
    table.write_csv(tmp_path / "t.csv", separator=";")
    table.write_ndjson(tmp_path / "t.jsonl")
    found = set()
    for name in ("t.parquet", "t.csv", "t.jsonl"):
        settings = settings_for(tmp_path / name)
        frame = sources.open(settings)
        found.add(fingerprint(typed.apply(frame, infer.infer(frame, settings)).table))
    assert len(found) == 1


def test_no_rows_and_no_columns() -> None:
    assert fingerprint(pl.DataFrame()) != fingerprint(TABLE.clear())
