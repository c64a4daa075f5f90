"""Labels as files, and the metric over time by either clock."""

from datetime import timedelta

import polars as pl
import pytest
from served import HOUR, MODEL, NOW, Served

from tidemill import cli
from tidemill.errors import LedgerError, SettingsError
from tidemill.ledger import tables
from tidemill.steward import policy
from tidemill.steward.labels import metrics, take_file

BEGIN = NOW - 30 * HOUR


@pytest.fixture
def served(tmp_path):
    return Served(tmp_path)


def test_a_file_is_taken_once(served, tmp_path):
    ids = served.answer(BEGIN, 3, labelled=0.0)["id"].to_list()
    file = tmp_path / "labels.csv"
    file.write_text(f"id,label,at\n{ids[0]},yes,2026-01-02T03:04:05Z\n{ids[1]},no,\n")
    assert take_file(file, served.ledger, MODEL) == 2
    assert take_file(file, served.ledger, MODEL) == 0
    rows = tables.joined(served.ledger, MODEL).collect().sort("at")
    assert rows["true_label"].to_list() == ["yes", "no", None]
    assert rows["event_at"].to_list()[0].isoformat() == "2026-01-02T03:04:05+00:00"


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_other_files_and_numbers_are_taken_too(served, tmp_path, suffix):
    table = pl.DataFrame({"id": ["a-0"], "value": [3], "at": [BEGIN.replace(tzinfo=None)]})
    file = tmp_path / f"labels.{suffix}"
    table.write_parquet(file) if suffix == "parquet" else table.write_ndjson(file)
    assert take_file(file, served.ledger, MODEL) == 1
    (row,) = tables.labels(served.ledger, MODEL).collect().to_dicts()
    assert (row["value"], row["label"], row["event_at"]) == (3.0, None, BEGIN)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("labels.csv", "id,truth\na-0,yes\n", "with the columns id, truth"),
        ("labels.csv", "id,label\n,yes\nb-0,\n", "2 rows of"),
        ("labels.csv", "id,label,at\na-0,yes,yesterday\n", "values of `at` that are no instants"),
        ("labels.txt", "id,label\n", "KeyError"),
        ("labels.csv", "id,value\na-0,many\n", "InvalidOperationError"),
        ("labels.csv", "id,value\na-0,NaN\n", "values that are no numbers"),
        ("labels.csv", "id,label,at\na-0,yes,20260102\n", "at as Int64"),
        ("labels.jsonl", '{"id": "a-0", "label": {"is": "yes"}}\n', "label as Struct"),
        ("labels.jsonl", '{"id": ["a-0"], "label": "yes"}\n', "id as List"),
        ("labels.csv", "id,label,at\na-0,yes,9999-12-31T00:00:00Z\n", "outside of the years 1 to 9998"),
        ("labels.parquet", "no parquet", "labels.parquet"),
    ],
)
def test_what_is_no_label_is_refused_and_nothing_is_taken(served, tmp_path, name, text, says):
    (tmp_path / name).write_text(text)
    with pytest.raises(LedgerError, match="A file of labels is Parquet, CSV or JSON Lines") as refused:
        take_file(tmp_path / name, served.ledger, MODEL)
    assert says in str(refused.value)
    assert tables.labels(served.ledger, MODEL).collect().is_empty()


def test_the_metric_over_time_by_the_moment_of_records_and_of_labels(served, capsys):
    served.answer(BEGIN, 400, champion=("1", 0.4))
    served.answer(BEGIN + 3 * HOUR, 400, champion=("1", 0.1), labelled=0.5)
    given = policy.read(None)
    found = metrics(served.registry, served.ledger, MODEL, given, by="event", every="1h")
    assert found["from"].to_list() == [BEGIN, BEGIN + 3 * HOUR]
    assert found["labelled"].to_list()[0] == 400
    assert 150 < found["labelled"].to_list()[1] < 250
    early, late = found["log_loss"]
    assert 0.2 < early < 0.45 < 0.6 < late < 0.75
    assert (found["lower"] < found["log_loss"]).all()
    assert (found["log_loss"] < found["upper"]).all()
    whole = metrics(served.registry, served.ledger, MODEL, given, by="arrival", every="2d")
    assert whole["labelled"].sum() == found["labelled"].sum()
    about = ["--model", MODEL, "--registry", str(served.place / "registry"), "--ledger", str(served.place / "ledger")]
    assert cli.main(["steward", "metrics", "--every", "1h", *about]) == 0
    assert f"{BEGIN:%Y-%m-%d %H}" in capsys.readouterr().out


def test_what_is_no_duration_is_refused(capsys):
    with pytest.raises(SystemExit):
        cli.main(["steward", "metrics", "--model", MODEL, "--every", "fortnight"])
    assert "'fortnight' is not a duration like 1h" in capsys.readouterr().err


def test_without_labels_there_is_no_metric(served, tmp_path, capsys):
    about = ["--model", MODEL, "--registry", str(served.place / "registry"), "--ledger", str(served.place / "ledger")]
    assert cli.main(["steward", "metrics", *about]) == 0
    assert "No labelled answers yet." in capsys.readouterr().out
    (tmp_path / "l.csv").write_text("id,label\na-0,yes\n")
    assert cli.main(["steward", "labels", str(tmp_path / "l.csv"), *about]) == 0
    assert cli.main(["steward", "labels", str(tmp_path / "l.csv"), *about]) == 0
    told = capsys.readouterr().out
    assert "1 labels" in told
    assert "taken before" in told


def test_lags_of_an_empty_period(served):
    served.answer(BEGIN, 5, labelled=0.0, lag=timedelta(hours=1))
    assert metrics(served.registry, served.ledger, MODEL, policy.read(None), by="event", every="1d").is_empty()


@pytest.mark.parametrize("every", ["1fortnight", "d"])
def test_a_bucket_of_no_duration_is_refused(served, every):
    with pytest.raises(SettingsError, match="A bucket of time is written like 1h"):
        metrics(served.registry, served.ledger, MODEL, policy.read(None), by="event", every=every)
