"""Bulk runs that record: the ledger has what a server would have recorded, each row once, and labels find it."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from bulk_files import store, with_others

from small_bundle import Small
from tidemill import cli
from tidemill.bulk import recording
from tidemill.bundle.registry.registry import Alias, Mode, Registry
from tidemill.data.raw import from_table
from tidemill.errors import LedgerError
from tidemill.ledger import tables
from tidemill.ledger.ledger import Ledger
from tidemill.ledger.record import Described
from tidemill.ledger.settings import LedgerSettings, Masking
from tidemill.steward.labels import take_files


@pytest.fixture(scope="module")
def keyed(small_multiclass: Small, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """A registry whose model has a column of keys, one of moments, and ones that the model does not see."""
    place = tmp_path_factory.mktemp("keyed")
    registry = Registry(place / "registry")
    for number in ("one", "two"):
        registry.add("small", with_others(small_multiclass.folder, place / number))
    registry.promote("small", "1", by="me", reason="first")
    return registry


@pytest.fixture
def table(small_multiclass: Small) -> pl.DataFrame:
    return small_multiclass.table.with_columns(
        id=pl.arange(2**60, 2**60 + 400, eager=True),
        sex=pl.Series(["f", "m"] * 200),
        note=pl.lit("a note"),
        when=pl.lit(datetime(2013, 5, 4, tzinfo=UTC)),
    )


@pytest.fixture
def predict(keyed: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    def run(*words: Any, output: str = "out") -> tuple[int | str, ...]:
        words = ["--record", "--ledger", str(tmp_path / "ledger"), "--output", str(tmp_path / output), *map(str, words)]
        words = ["--registry", keyed.path, "--model", "small", "--workers", "2", "--rows-per-part", "150", *words]
        status = cli.main(["predict", *words])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def answers(tmp_path: Path) -> pl.DataFrame:
    return tables.answers(LedgerSettings(path=str(tmp_path / "ledger")), "small").sort("key").collect()


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_a_nightly_batch_is_in_the_ledger_once_and_gets_labels_by_key(
    predict: Callable[..., Any], table: pl.DataFrame, tmp_path: Path, keyed: Registry, ending: str
) -> None:
    stored = table if ending == "parquet" else table.with_columns(when=pl.lit("04.05.2013"))
    file = store(stored, tmp_path / f"night.{ending}")
    status, said, err = predict("--input", file)
    assert status == 0, err
    assert f"400 rows recorded in {tmp_path / 'ledger'}\n" in said
    found = answers(tmp_path)
    parts = pl.read_parquet(tmp_path / "out" / "part-*.parquet").sort("row")
    assert parts.columns[:4] == ["file", "row", recording.ID, "id"]
    assert found.select("id", "label").rows() == parts.select(recording.ID, "label").rows()
    shares = parts.select(pl.selectors.starts_with("probability_")).to_numpy()
    np.testing.assert_array_equal(np.array(found["probabilities"].to_list(), np.float32), shares)
    assert found["key"].to_list() == [str(2**60 + row) for row in range(400)]
    assert found["version"].unique().to_list() == ["1"] and found["role"].unique().to_list() == ["champion"]
    inputs = found["inputs"].struct.unnest()
    assert inputs["when"].unique().to_list() == [datetime(2013, 5, 4, tzinfo=UTC)]
    assert inputs["city"].null_count() == (table["city"] == "").sum() and inputs["size"].null_count() == 24
    assert inputs["note"].unique().to_list() == ["a note"]
    assert set(inputs["sex"].str.len_chars()) == {32}, "sensitive: digests"

    labels = tmp_path / "labels.csv"
    labels.write_text(f"id,label\n{2**60},low\n{2**60 + 399},mid\n{found['id'][7]},low\n")
    described = keyed.describe("small", "champion")
    ledger = LedgerSettings(path=str(tmp_path / "ledger"))
    assert take_files([labels], ledger, "small", described.identity, schema=described.schema) == 3
    joined = tables.joined(ledger, "small").sort("key").collect()["true_label"]
    assert [(row, label) for row, label in enumerate(joined) if label] == [(0, "low"), (7, "low"), (399, "mid")]


@pytest.mark.slow
def test_neither_a_resumed_run_nor_a_repeated_one_records_twice(predict: Any, table: Any, tmp_path: Path) -> None:
    file = store(table, tmp_path / "night.parquet")
    assert predict("--input", file)[0] == 0
    before = answers(tmp_path)
    for part in (tmp_path / "out").glob("part-00000-0000[12].parquet"):
        part.unlink()
    (tmp_path / "out" / "_SUCCESS").unlink()  # as if it had been killed behind the ledger's commit
    status, said, err = predict("--input", file)
    assert status == 0 and "Resuming" in err
    assert "0 rows recorded" in said and "the ledger had 400 of these rows already" in said
    assert predict("--input", file, output="again")[0] == 0
    assert answers(tmp_path).equals(before)
    again, first = (pl.read_parquet(tmp_path / name / "part-*.parquet") for name in ("again", "out"))
    assert again.equals(first), "the same ids"

    status, _, err = predict("--input", file, "--rows-per-part", "100", output="other")
    assert status == 1 and "in parts of 150 rows. Remedy: give --rows-per-part 150" in err
    assert predict("--input", file, "--rows-per-part", "150", output="other")[0] == 0
    assert predict("--input", file, "--alias", "2", output="second version")[0] == 0
    assert answers(tmp_path)["version"].value_counts().sort("version").rows() == [("1", 400), ("2", 400)]
    os.utime(file, (0, 0))
    assert predict("--input", file, output="another night")[0] == 0
    assert answers(tmp_path).height == 1200


def test_a_run_that_is_resumed_without_recording_is_another_run(
    predict: Callable[..., Any],
    table: pl.DataFrame,
    tmp_path: Path,
    keyed: Registry,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = store(table, tmp_path / "night.parquet")
    assert predict("--input", file)[0] == 0
    words = ["--registry", keyed.path, "--model", "small", "--rows-per-part", "150", "--output", str(tmp_path / "out")]
    assert cli.main(["predict", *words, "--input", str(file)]) == 1
    assert "ledger was '" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["predict", *words, "--input", str(file), "--ledger", "x"])
    assert "--ledger says where --record writes" in capsys.readouterr().err


@pytest.mark.slow
def test_rows_that_cannot_be_read_are_not_recorded(
    predict: Callable[..., Any], table: pl.DataFrame, tmp_path: Path
) -> None:
    bad = table.with_columns(open=pl.when(pl.arange(400) == 250).then(None).otherwise("open"))
    file = store(bad, tmp_path / "night.parquet")
    assert predict("--input", file, "--workers", "1")[0] == 1
    status, _, err = predict("--input", file, "--on-error", "quarantine")
    assert status == 0, err
    found = answers(tmp_path)
    assert found.height == 399 and str(2**60 + 250) not in found["key"]
    assert found["id"].is_unique().all()


@pytest.mark.slow
@pytest.mark.parametrize("noted", ["here", "in the tables"])
def test_what_a_server_covers_is_covered_for_bulk_too(
    predict: Callable[..., Any], table: pl.DataFrame, tmp_path: Path, keyed: Registry, noted: str
) -> None:
    settings = LedgerSettings(
        path=str(tmp_path / "ledger"), columns={"city": Masking.MASK, "id": Masking.HASH}, ignored=Masking.MASK
    )
    schema = keyed.describe("small", "1").schema
    ledger = Ledger(settings, "small")
    ledger.describe(Described("1", schema.to_dict(), "multiclass", ("low", "mid", "ä-high")))
    ledger.close()
    if noted == "in the tables":
        first = store(table[:10], tmp_path / "first.parquet")
        assert predict("--input", first, output="first")[0] == 0
        (settings.segments("small") / "ledger.json").unlink()
    assert predict("--input", store(table, tmp_path / "night.parquet"))[0] == 0
    found = answers(tmp_path)
    inputs = found["inputs"].struct.unnest()
    assert inputs["city"].null_count() == found.height and "note" not in inputs.columns
    assert set(found["key"].str.len_chars()) == {32}
    assert tables.masked(settings, "small") == {"city": "mask", "id": "hash"}


@pytest.mark.slow
def test_the_challengers_answers_are_a_canarys(
    predict: Callable[..., Any], table: pl.DataFrame, tmp_path: Path, keyed: Registry
) -> None:
    keyed.promote("small", "2", Alias.CHALLENGER, by="me", reason="to see")
    keyed.set_rollout("small", Mode.CANARY, 0.1, by="me", reason="to see")
    assert predict("--input", store(table, tmp_path / "night.parquet"), "--alias", "challenger")[0] == 0
    assert answers(tmp_path)["role"].unique().to_list() == ["canary"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "says"),
    [("ledger", "A bulk run that records can write the ledger"), ("ledger/small/answers", "tables can be read")],
)
def test_a_ledger_that_cannot_be_written_stops_the_run(
    predict: Callable[..., Any], table: pl.DataFrame, tmp_path: Path, place: str, says: str
) -> None:
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_text("a file")
    status, _, err = predict("--input", store(table, tmp_path / "night.parquet"))
    assert status == 1 and f"{says}. Got:" in err and "Traceback" not in err
    (tmp_path / place).unlink()
    assert predict("--input", tmp_path / "night.parquet")[0] == 0
    assert answers(tmp_path).height == 400


def test_tables_that_cannot_be_written_while_it_records(
    keyed: Registry, table: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = keyed.describe("small", "1")
    prepared = recording.prepare(str(tmp_path), described, keyed.desired("small"), [{"path": "a"}], 10)
    recorder = recording.Recorder(prepared)
    monkeypatch.setattr("tidemill.ledger.commits._ATTEMPTS", 1)
    (tmp_path / "small").write_text("no folder")
    raw = from_table(table.head(2), described.schema.inputs)
    answers = {"probabilities": np.full((2, 3), 1 / 3, np.float32), "label": np.array(["low", "mid"], object)}
    with pytest.raises(LedgerError, match=r"can write the ledger\. Got: .*small/answers: "):
        recorder(0, 0, recording.Batch(raw=raw, others={}, answers=answers, seconds=0.1))


@pytest.mark.slow
def test_a_steward_watches_what_was_scored_in_bulk_and_labelled_by_key(
    predict: Any, table: Any, tmp_path: Path, keyed: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    begin = datetime(2013, 5, 4, tzinfo=UTC)
    moments = [begin + timedelta(minutes=3 * row) for row in range(400)]
    assert predict("--input", store(table.with_columns(when=pl.Series(moments)), tmp_path / "night.parquet"))[0] == 0
    truth = table.select(pl.col("id").alias("key"), pl.col("grade").alias("label"))
    truth.write_parquet(tmp_path / "labels.parquet")
    (tmp_path / "policy.yaml").write_text("time: {clock: event, label_wait_hours: 0}\n")
    words = ["--model", "small", "--registry", keyed.path, "--ledger", str(tmp_path / "ledger")]
    assert cli.main(["steward", "labels", str(tmp_path / "labels.parquet"), *words]) == 0
    assert "400 labels taken." in capsys.readouterr().out
    assert cli.main(["steward", *words, "--once", "--policy", str(tmp_path / "policy.yaml")]) == 0
    capsys.readouterr()
    assert cli.main(["steward", "status", "--json", *words]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["status"]["labelled_until"] >= (begin + timedelta(hours=15)).isoformat()
    (labels,) = (one for one in told["readings"] if one["check"] == "labels")
    assert labels["effect"] == 1.0, "every answer has its label"
    assert any(one["check"] == "performance" for one in told["readings"])
