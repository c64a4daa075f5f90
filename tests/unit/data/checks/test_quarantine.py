"""Limits of quarantine hold by split, and its reasons are told with counts."""

from datetime import date, timedelta
from pathlib import Path

import pytest
from table_settings import settings_for

from tidemill.data import dataset
from tidemill.errors import QualityError


def write(path: Path, rows: int, bad: dict[int, str], first: int = 0) -> Path:
    lines = [f"{date(2020, 1, 1) + timedelta(days=i + first)},{bad.get(i, i % 7)},{i % 2}" for i in range(rows)]
    path.write_text("at,x,y\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def refusal(settings: object, folder: Path) -> str:
    with pytest.raises(QualityError) as caught:
        dataset.load(settings, folder)  # type: ignore[arg-type]
    return str(caught.value)


def test_a_tenth_of_a_test_table_does_not_hide_among_training_rows(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", 1_000, {})
    test = write(tmp_path / "test.csv", 100, dict.fromkeys(range(0, 100, 10), "high"), first=1_000)
    said = refusal(settings_for(train, test_path=str(test), target="y", kinds={"x": "numeric"}), tmp_path)
    assert "10 of 100 rows of data.test_path (10.00%)" in said
    assert "10 rows: x: cannot be read as numeric, e.g. 'high'" in said


def test_the_late_rows_of_one_table_count_by_split(tmp_path: Path) -> None:
    bad = dict.fromkeys(range(900, 940), "n.v.")
    table = write(tmp_path / "table.csv", 1_000, bad)  # 4% of all, and a fifth of the test split
    by_time = {"time": "at", "split": {**_split(), "method": "time"}, "kinds": {"x": "numeric"}}
    said = refusal(settings_for(table, target="y", **by_time), tmp_path)
    assert "40 of 232 rows of test (17.24%)" in said
    assert "rows of data.path" not in said  # within the limit
    dataset.load(settings_for(table, target="y", kinds={"x": "numeric"}), tmp_path)


def test_the_most_frequent_reasons_are_told_on_the_console(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    bad = {1: "a; b", 2: "it's", 3: "", 4: "99"}
    table = write(tmp_path / "table.csv", 1_000, bad)
    settings = settings_for(table, target="y", kinds={"x": "numeric"}, quality={"ranges": {"x": [0, 10]}})
    dataset.load(settings, tmp_path)
    said = next(line for line in caplog.messages if "quarantined (limit" in line)
    assert "2 rows: x: cannot be read as numeric, e.g. 'a; b', \"it's\"" in said
    assert "1 rows: x: is above the maximum 10, e.g. '99'" in said
    assert "what to do: look at quarantine.parquet" in said


def _split() -> dict[str, object]:
    return {
        "method": "random",
        "validation": 0.2,
        "test": 0.2,
        "seed": 0,
        "validation_from": None,
        "test_from": None,
        "absent_classes": "stop",
    }
