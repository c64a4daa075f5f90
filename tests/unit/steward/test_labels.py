"""Labels as files, and the metric over time by either clock."""

import contextlib
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from served import HOUR, MODEL, NOW, Served

from tidemill import cli
from tidemill.composition import build
from tidemill.data.schema import Column, Role, Schema
from tidemill.errors import LedgerError, SettingsError
from tidemill.ledger import tables
from tidemill.ledger.ledger import Ledger
from tidemill.ledger.record import Answered, Described, Form, Role as AnswerRole
from tidemill.ledger.settings import LedgerSettings
from tidemill.settings import Kind, Objective
from tidemill.steward import policy
from tidemill.steward.labels import metrics, take_files
from tidemill.steward.policy import Clock
from tidemill.steward.records import Records, Span

Capture = pytest.CaptureFixture[str]

BEGIN = NOW - 30 * HOUR


def with_key(name: str | None) -> Schema:
    """A schema with this column of keys; None: with none."""
    columns = () if name is None else (Column(name=name, kind=Kind.CATEGORICAL, role=Role.KEY),)
    return Schema(columns=columns)


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(tmp_path)


def taken(served: Served, *files: Any) -> int:
    return take_files(files, served.ledger, MODEL, served.registry.describe(MODEL, "champion").identity)


def about(served: Served, model: str = MODEL) -> list[str]:
    return ["--model", model, "--registry", str(served.place / "registry"), "--ledger", str(served.place / "ledger")]


def test_a_file_is_taken_once(served: Served, tmp_path: Path) -> None:
    ids = served.answer(BEGIN, 3, labelled=0.0)["id"].to_list()
    file = tmp_path / "labels.csv"
    file.write_text(f"id,label,at\n{ids[0]},yes,2026-01-02T03:04:05Z\n{ids[1]},no,\n")
    assert taken(served, file) == 2
    assert taken(served, file) == 0
    rows = tables.joined(served.ledger, MODEL).collect().sort("at")
    assert rows["true_label"].to_list() == ["yes", "no", None]
    assert rows["event_at"].to_list()[0].isoformat() == "2026-01-02T03:04:05+00:00"


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "csv"])
def test_other_files_and_numbers_are_taken_too(served: Served, tmp_path: Path, suffix: str) -> None:
    (id_,) = served.answer(BEGIN, 1, labelled=0.0)["id"].to_list()
    table = pl.DataFrame({"id": [id_], "value": [3], "at": [BEGIN.replace(tzinfo=None)]})
    file = tmp_path / f"labels.{suffix}"
    {"parquet": table.write_parquet, "jsonl": table.write_ndjson, "csv": table.write_csv}[suffix](file)
    identity = replace(served.registry.describe(MODEL, "1").identity, objective=Objective.REGRESSION, classes=())
    assert take_files([file], served.ledger, MODEL, identity) == 1
    (row,) = tables.labels(served.ledger, MODEL).collect().to_dicts()
    assert (row["value"], row["label"], row["event_at"]) == (3.0, None, BEGIN)


@pytest.mark.parametrize(
    ("encoding", "separator"), [("utf-8", ","), ("utf-8-sig", ";"), ("utf-16", "\t"), ("utf-16", ";")]
)
def test_a_label_file_is_read_as_training_reads_tables(
    served: Served, tmp_path: Path, encoding: str, separator: str
) -> None:
    ids = served.answer(BEGIN, 3, labelled=0.0)["id"].to_list()
    lines = [
        ("id", "label", "at"),
        (ids[0], " yes", "20260102T0304Z"),
        (ids[1], "no ", "02.01.2026 03:04"),
        (ids[2], "no", ""),
    ]
    file = tmp_path / "labels.csv"
    file.write_bytes("\n".join(separator.join(line) for line in lines).encode(encoding))
    time = Column(name="when", kind=Kind.TIMESTAMP, role=Role.TIME, format="%d.%m.%Y %H:%M")
    identity = served.registry.describe(MODEL, "champion").identity
    assert take_files([file], served.ledger, MODEL, identity, schema=Schema(columns=(time,))) == 3
    rows = tables.joined(served.ledger, MODEL).collect().sort("at")
    assert rows["true_label"].to_list() == ["yes", "no", "no"]
    assert [at and at.isoformat() for at in rows["event_at"]] == ["2026-01-02T03:04:00+00:00"] * 2 + [None]


def test_numbers_in_a_label_file_are_written_as_trainings_target(served: Served, tmp_path: Path) -> None:
    (id_,) = served.answer(BEGIN, 1, labelled=0.0)["id"].to_list()
    file = tmp_path / "labels.csv"
    file.write_text(f"id;label\n{id_};1.250,5\n")
    identity = replace(served.registry.describe(MODEL, "1").identity, objective=Objective.REGRESSION, classes=())
    target = Column(name="y", kind=Kind.NUMERIC, role=Role.TARGET, decimal_comma=True, thousands=".")
    assert take_files([file], served.ledger, MODEL, identity, schema=Schema(columns=(target,))) == 1
    assert tables.labels(served.ledger, MODEL).collect()["value"].to_list() == [1250.5]


@pytest.mark.parametrize(("classes", "text"), [(["false", "true"], "True"), (["0", "1"], "1.0")])
def test_classes_in_a_label_file_are_read_as_training_reads_them(
    served: Served, tmp_path: Path, classes: list[str], text: str
) -> None:
    (id_,) = served.answer(BEGIN, 1, labelled=0.0)["id"].to_list()
    file = tmp_path / "labels.csv"
    file.write_text(f"id,label\n{id_},{text}\n")
    identity = replace(served.registry.describe(MODEL, "1").identity, classes=classes)
    assert take_files([file], served.ledger, MODEL, identity) == 1
    assert tables.labels(served.ledger, MODEL).collect()["label"].to_list() == [classes[1]]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("labels.csv", "id,truth\n0-0,yes\n", "with the columns id, truth"),
        ("labels.csv", "id,label\n0-0,yes\n1-0,\n", "labels.csv, row 2, without exactly one of label and value"),
        ("labels.csv", "id,label\n0-0,yes\n,yes\n", "labels.csv, row 2, id null. Remedy: send the"),
        ("labels.csv", "id,label\n0-0,yes\nnumber 7,yes\n", 'row 2, id "number 7". Remedy: send the "id" of'),
        ("labels.csv", "id,label\n0-0,yes\n1-0,yess\n", "row 2, label \"yess\". Remedy: did you mean 'yes'? The"),
        ("labels.csv", "id,label\n0-0,yes\nbeef-0,no\ncafe-0,no\n", "'beef-0', of which the ledger has no answer"),
        ("labels.csv", "id,label,at\n0-0,yes,yesterday\n", 'row 1, at "yesterday"'),
        ("labels.csv", "id,label,at\n0-0,yes,9999-12-31T00:00:00Z\n", "after 1900 and no more than a day from now"),
        ("labels.txt", "id,label\n", "KeyError"),
        ("labels.csv", "id,value\n0-0,3\n", 'row 1, label "3". Remedy: The classes are no, yes'),
        ("labels.jsonl", '{"id": "0-0", "label": "yes", "at": 7}\n', "at as Int64"),
        ("labels.jsonl", '{"id": "0-0", "label": {"is": "yes"}}\n', "label as Struct"),
        ("labels.jsonl", '{"id": ["0-0"], "label": "yes"}\n', "id as List"),
        ("labels.parquet", "no parquet", "labels.parquet"),
    ],
)
def test_what_is_no_label_is_refused_and_nothing_is_taken(
    served: Served, tmp_path: Path, name: str, text: str, says: str
) -> None:
    served.answer(BEGIN, 2, labelled=0.0)
    (tmp_path / "good.csv").write_text("id,label\n0-0,yes\n")
    (tmp_path / name).write_text(text)
    with pytest.raises(LedgerError) as refused:
        taken(served, tmp_path / "good.csv", tmp_path / name)
    assert says in str(refused.value)
    assert tables.labels(served.ledger, MODEL).collect().is_empty()
    assert not Path(served.ledger.table(MODEL, "labels")).exists()


def keyed(served: Served, keys: list[int | str] | list[str], columns: dict[Any, Any] | None = None) -> None:
    """Answers to records with these keys, as a server with these covers ships them."""
    settings = build(LedgerSettings, {"path": served.ledger.path, "columns": columns or {}})
    schema = served.registry.describe(MODEL, "champion").schema.to_dict()
    probabilities = np.tile(np.array([0.25, 0.75], np.float32), (len(keys), 1))
    with contextlib.closing(Ledger(settings, MODEL)) as ledger:
        ledger.describe(Described("1", schema, "binary", ("no", "yes")))
        entry = Answered(
            id="ab",
            at=round(BEGIN.timestamp()) * 10**9,
            version="1",
            role=AnswerRole.CHAMPION,
            propensity=1.0,
            latency=1,
            form=Form.ROWS,
            inputs=json.dumps({"rows": [{"size": 1.0, "city": "Bern", "id": key} for key in keys]}).encode(),
            rows=None,
            answers={"probabilities": probabilities, "label": np.array(["yes"] * len(keys), np.object_)},
        )
        ledger.answered([entry])


def test_lines_of_a_label_file_that_end_too_early_are_named(
    served: Served, tmp_path: Path, capsys: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    keyed(served, [7, "008"], {})
    file = tmp_path / "labels.csv"
    file.write_text("key,label,at\n7,no,2026-01-01T00:00:00Z\n008,yes\n")
    assert cli.main(["steward", "labels", str(file), *about(served)]) == 0, capsys.readouterr().err
    assert f"{file} has fewer fields than its 3 columns in one line (line 3)" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("name", ["key", "id"])
@pytest.mark.parametrize("columns", [{}, {"id": "hash"}])
@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_labels_by_the_models_own_key(
    served: Any, tmp_path: Path, capsys: Capture, name: Any, columns: Any, suffix: Any
) -> None:
    keyed(served, [7, "008", "x"], columns)
    table = pl.DataFrame({name: ["7", "008"], "label": ["no", "yes"]})
    file = tmp_path / f"labels.{suffix}"
    {"parquet": table.write_parquet, "jsonl": table.write_ndjson, "csv": table.write_csv}[suffix](file)
    assert cli.main(["steward", "labels", str(file), *about(served)]) == 0, capsys.readouterr().err
    assert "2 labels taken" in capsys.readouterr().out
    found = tables.joined(served.ledger, MODEL).sort("id").collect()
    assert found["true_label"].to_list() == ["no", "yes", None]
    (piece,) = Records(served.ledger, MODEL, Clock.ARRIVAL, None).labelled(
        Span(begin=BEGIN - HOUR, end=NOW, since=BEGIN - HOUR), NOW + 99 * HOUR
    )
    assert sorted(piece["true_label"].drop_nulls()) == ["no", "yes"], "the steward sees them too"


def test_keys_as_numbers_in_a_file_are_the_same_keys(served: Served, tmp_path: Path) -> None:
    keyed(served, ["7", "8"])
    pl.DataFrame({"id": [7.0, 8.0], "value": [None, None], "label": ["no", "yes"]}).write_parquet(
        tmp_path / "l.parquet"
    )
    identity = served.registry.describe(MODEL, "champion").identity
    assert take_files([tmp_path / "l.parquet"], served.ledger, MODEL, identity, schema=with_key("id")) == 2
    assert tables.joined(served.ledger, MODEL).collect()["true_label"].null_count() == 0


def test_a_file_may_name_answers_by_id_or_by_key_row_by_row(served: Served, tmp_path: Path) -> None:
    keyed(served, ["7", "8"])
    (tmp_path / "l.csv").write_text("id,label\nab-0,no\n8,yes\n")
    identity = served.registry.describe(MODEL, "champion").identity
    assert take_files([tmp_path / "l.csv"], served.ledger, MODEL, identity, schema=with_key("id")) == 2
    found = tables.joined(served.ledger, MODEL).sort("id").collect()
    assert found["true_label"].to_list() == ["no", "yes"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("columns", "text", "key", "says"),
    [
        ({}, "key,label\n7,no\n9,no\n10,no\n", "id", "row 2: key '9', of which the ledger has no answer (and 1 more)"),
        ({}, "key,label\n9,no\n", "id", "send the column 'id' in each row of /predict, or score files"),
        ({}, "key,label\n7,no\n", None, "train with data.key=COLUMN"),
        ({}, "key,label\n,no\n", "id", "row 1, key null"),
        ({"id": "mask"}, "key,label\n7,no\n", "id", "ledger.columns.id=mask"),
        ({"id": "hash"}, "key,label\n7,no\n", "id", "no key for digests here"),
    ],
)
def test_what_is_no_label_by_key_is_refused(
    served: Any, tmp_path: Path, columns: Any, text: str, key: Any, says: Any
) -> None:
    keyed(served, [7], columns)
    (served.ledger.segments(MODEL) / "hash.key").unlink()
    (tmp_path / "l.csv").write_text(text)
    identity = served.registry.describe(MODEL, "champion").identity
    with pytest.raises(LedgerError) as refused:
        take_files([tmp_path / "l.csv"], served.ledger, MODEL, identity, schema=with_key(key))
    assert says in str(refused.value)
    assert tables.labels(served.ledger, MODEL).collect().is_empty()


def test_a_model_that_does_not_exist_gets_no_table(served: Served, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "l.csv").write_text("id,label\n0-0,yes\n")
    assert cli.main(["steward", "labels", str(tmp_path / "l.csv"), *about(served, "typo")]) == 1
    assert "RegistryError" in capsys.readouterr().err
    assert not (served.place / "ledger" / "typo").exists()


def test_the_metric_over_time_by_the_moment_of_records_and_of_labels(served: Served, capsys: Capture) -> None:
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
    assert cli.main(["steward", "metrics", "--every", "1h", *about(served)]) == 0
    assert f"{BEGIN:%Y-%m-%d %H}" in capsys.readouterr().out


def test_what_is_no_duration_is_refused(capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        cli.main(["steward", "metrics", "--model", MODEL, "--every", "fortnight"])
    assert "'fortnight' is not a duration like 1h" in capsys.readouterr().err


def test_without_labels_there_is_no_metric(served: Served, tmp_path: Path, capsys: Capture) -> None:
    assert cli.main(["steward", "metrics", *about(served)]) == 0
    assert "No labelled answers yet." in capsys.readouterr().out
    served.answer(BEGIN, 1, labelled=0.0)
    (tmp_path / "l.csv").write_text("id,label\n0-0,yes\n")
    assert cli.main(["steward", "labels", str(tmp_path / "l.csv"), *about(served)]) == 0
    assert cli.main(["steward", "labels", str(tmp_path / "l.csv"), *about(served)]) == 0
    said = capsys.readouterr().out
    assert "1 labels" in said and "taken before" in said


def test_lags_of_an_empty_period(served: Served) -> None:
    served.answer(BEGIN, 5, labelled=0.0, lag=timedelta(hours=1))
    assert metrics(served.registry, served.ledger, MODEL, policy.read(None), by="event", every="1d").is_empty()


@pytest.mark.parametrize("every", ["1fortnight", "d"])
def test_a_bucket_of_no_duration_is_refused(served: Served, every: str) -> None:
    with pytest.raises(SettingsError, match="A bucket of time is written like 1h"):
        metrics(served.registry, served.ledger, MODEL, policy.read(None), by="event", every=every)
