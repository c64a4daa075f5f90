"""Whole runs: real worker processes, killed and resumed, and every mistake that stops a run before it begins."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from bulk_files import answers_of, children, store

from patience import PATIENCE, until
from small_bundle import Small
from tidemill import cli
from tidemill.bundle.registry.registry import Registry

Capture = pytest.CaptureFixture[str]


def predict(capsys: Capture, registry: str, *words: Any) -> tuple[int, str, str]:
    status = cli.main(["predict", "--registry", registry, "--model", "small", "--workers", "2", *map(str, words)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture
def table(small_multiclass: Small, tmp_path: Path) -> Path:
    return store(small_multiclass.table, tmp_path / "table.parquet")


@pytest.mark.slow
def test_the_copy_of_an_object_stores_bundle_goes_with_the_run(
    small_multiclass: Small, table: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(f"memory://{uuid.uuid4().hex}")
    registry.promote("small", registry.add("small", small_multiclass.folder), by="me", reason="first")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    status, _, err = predict(capsys, registry.path, "--input", table, "--output", tmp_path / "out")
    assert status == 0, err
    assert not list((tmp_path / "temporary").glob("small-*"))


@pytest.mark.slow
def test_a_public_key_asks_for_its_signature(
    small_multiclass: Small, table: Path, tmp_path: Path, capsys: Capture
) -> None:
    registry, key, public = Registry(tmp_path / "registry"), tmp_path / "key.pem", tmp_path / "key.pub"
    make = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(key)]
    subprocess.run(make, check=True, capture_output=True)
    subprocess.run(["openssl", "ec", "-in", key, "-pubout", "-out", public], check=True, capture_output=True)
    registry.promote("small", registry.add("small", small_multiclass.folder), by="me", reason="first")
    words = ("--public-key", public, "--input", table, "--output", tmp_path / "out")
    manifest = tmp_path / "registry/small/1/manifest.json"
    content = manifest.read_bytes()
    manifest.write_text("never parsed")
    status, _, err = predict(capsys, registry.path, *words)
    assert status == 1 and "BundleError: With a public key set, only signed bundles are loaded" in err
    assert not (tmp_path / "out").exists()
    manifest.write_bytes(content)
    registry.sign("small", "1", key)
    status, _, err = predict(capsys, registry.path, *words)
    assert status == 0, err


def test_many_files_of_many_formats_in_one_run(
    small_multiclass: Small, registry: str, tmp_path: Path, capsys: Capture
) -> None:
    given = tmp_path / "in"
    given.mkdir()
    rows = {"a.csv": 130, "b.parquet": 100, "c.jsonl": 170}
    first = 0
    for name, count in rows.items():
        part = small_multiclass.table.slice(first, count).with_columns(id=pl.arange(first, first + count, eager=True))
        store(part, given / name)
        first += count
    out = tmp_path / "out"
    job = ("--input", given / "*.csv", given / "b.parquet", f"file://{given}/c.jsonl", given / "a.csv")
    job = (*job, "--output", out, "--rows-per-part", "100", "--keep", "id")
    status, said, err = predict(capsys, registry, *job)
    assert (status, said) == (0, f"400 rows of 3 files scored by small version 1 in 5 parts: {out}\n"), err
    assert sorted(path.name for path in out.glob("part-*")) == [
        f"part-{file:05}-{chunk:05}.parquet" for file, chunk in ((0, 0), (0, 1), (1, 0), (2, 0), (2, 1))
    ]
    found = pl.read_parquet(out / "part-*.parquet")
    assert found["id"].cast(pl.Int64).to_list() == list(range(400))
    assert found["row"].to_list() == [row for count in rows.values() for row in range(count)]
    expected = answers_of(small_multiclass, small_multiclass.table)
    np.testing.assert_array_equal(found["label"].to_numpy(), expected["label"])
    for i, name in enumerate(small_multiclass.target.classes):
        np.testing.assert_array_equal(found[f"probability_{name}"].to_numpy(), expected["probabilities"][:, i])
    summary = json.loads((out / "_SUCCESS").read_text())
    assert summary["rows"] == 400 and summary["quarantined"] == 0 and summary["version"] == "1"
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    status, said, err = predict(capsys, registry, *job)
    assert status == 0 and "400 rows" in said and "complete already" in err
    assert before == {path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.name != ".lock"} | {
        ".lock": before[".lock"]
    }


@pytest.mark.slow
def test_bad_rows_stop_the_run_and_the_same_folder_goes_on_with_quarantine(
    small_multiclass: Small, registry: str, tmp_path: Path, capsys: Capture
) -> None:
    bad = small_multiclass.table.with_columns(
        open=pl.when(pl.arange(400) == 250).then(None).otherwise("open"), size=pl.col("size").cast(pl.String)
    )
    path = store(bad, tmp_path / "bad.parquet")
    job = ("--input", path, "--output", tmp_path / "out", "--rows-per-part", "100", "--workers", "1")
    status, _, err = predict(capsys, registry, *job)
    assert status == 1 and f"{path}, row 250 (the first is 0): open: missing" in err and "--on-error quarantine" in err
    parts = {entry.name: entry.stat().st_ino for entry in (tmp_path / "out").glob("part-*")}
    assert len(parts) == 2 and not (tmp_path / "out" / "_SUCCESS").exists()
    status, said, err = predict(capsys, registry, *job, "--on-error", "quarantine")
    assert status == 0 and "399 rows" in said and "1 rows could not be read" in said and "2 parts are done" in err
    assert parts.items() <= {entry.name: entry.stat().st_ino for entry in (tmp_path / "out").glob("part-*")}.items()
    aside = pl.read_parquet(tmp_path / "out" / "_quarantine")
    assert aside["row"].to_list() == [250] and aside["quarantined_because"].to_list() == ["open: missing"]


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_stopped_and_killed_runs_are_resumed_to_what_an_undisturbed_one_gives(
    small_multiclass: Any, registry: Any, tmp_path: Path, ending: Any
) -> None:
    path = store(pl.concat([small_multiclass.table] * 250), tmp_path / f"table.{ending}")
    out = tmp_path / "out"
    words = ["predict", "--registry", registry, "--model", "small", "--workers", "2", "--rows-per-part", "1000"]
    command = [sys.executable, "-m", "tidemill.cli", *words, "--input", str(path), "--output", str(out)]

    def stopped(number: signal.Signals, least: int) -> tuple[int, str]:
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
            while len(list(out.glob("part-*"))) < least:
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.01)
            workers = children(process.pid)
            os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
            process.wait(PATIENCE)
            until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers), "the end of its workers")
            return process.returncode, process.stderr.read()

    status, err = stopped(signal.SIGINT, 3)
    assert status == 130 and "repeat the command to resume" in err and "Traceback" not in err
    done = {entry.name: entry.stat().st_ino for entry in out.glob("part-*")}
    status, err = stopped(signal.SIGKILL, len(done) + 3)
    assert status == -signal.SIGKILL and f"Resuming: {len(done)} parts" in err and "Traceback" not in err
    assert done.items() <= {entry.name: entry.stat().st_ino for entry in out.glob("part-*")}.items()
    assert len(list(out.glob("part-*"))) < 100 and not (out / "_SUCCESS").exists()
    (out / ".staged-left-over").write_text("half a part")
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "100,000 rows" in ended.stdout and "in 100 parts" in ended.stdout and "Resuming" in ended.stderr
    assert not list(out.rglob(".staged-*"))
    found = pl.read_parquet(out / "part-*.parquet")
    assert found["row"].to_list() == list(range(100_000))
    expected = answers_of(small_multiclass, small_multiclass.table)
    for i, name in enumerate(small_multiclass.target.classes):
        got = found[f"probability_{name}"].to_numpy().reshape(250, 400)
        np.testing.assert_array_equal(got, np.broadcast_to(expected["probabilities"][:, i], (250, 400)))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda path: store(pl.read_parquet(path).head(3), path), r"the input .*table\.parquet.* is now"),
        (lambda path: os.utime(path, (1, 1)), r"the input .*table\.parquet.* is now .*1970-01-01"),
        (lambda path: ("--rows-per-part", "7"), "rows_per_part was 100, now it is 7"),
        (lambda path: ("--keep", "city"), r"keep was None, now it is \['city'\]"),
        (lambda path: ("--alias", "2"), "version was '1', now it is '2'"),
        (lambda path: ("--input", path, store(pl.read_parquet(path), path.with_name("b.parquet"))), "were 1 .* are 2"),
    ],
)
def test_a_resumed_run_must_be_the_same(
    registry: str,
    table: Path,
    tmp_path: Path,
    capsys: Capture,
    begun: Callable[..., Any],
    change: Callable[..., Any],
    text: str,
) -> None:
    os.utime(table, (10, 10))
    words = begun(table, tmp_path / "out")
    more = change(table)
    status, _, err = predict(capsys, registry, *words, *(more if isinstance(more, tuple) else ()))
    assert status == 1 and re.search(text, err) and "choose another --output" in err


@pytest.fixture
def begun(registry: str, capsys: Capture) -> Callable[..., Any]:
    """Begin a run that fails at its first rows."""

    def begin(path: Path, out: Path) -> tuple[Path | str, ...]:
        os.utime(path, (10, 10))
        from tidemill.bulk import inputs
        from tidemill.bulk.folder import Folder
        from tidemill.bulk.run import Job, _run
        from tidemill.bundle.registry.registry import Registry

        job = Job(inputs=(str(path),), output=out, rows_per_part=100)
        with Registry(registry).fetched("small", "1") as bundle:
            Folder(out).claim(_run("small", "1", bundle, inputs.find(job.inputs), job)).close()
        return ("--input", path, "--output", out, "--rows-per-part", "100")

    return begin


def test_columns_that_are_not_there_are_named_before_any_work(
    small_multiclass: Small, registry: str, tmp_path: Path, capsys: Capture
) -> None:
    wrong = store(small_multiclass.table.rename({"city": "City", "open": "shut"}), tmp_path / "wrong.csv")
    status, _, err = predict(capsys, registry, "--input", wrong, "--output", tmp_path / "out")
    assert status == 1 and "SchemaError: A file must have every column" in err
    assert f"no column 'city', 'open' in {wrong}" in err and "is 'City' meant by 'city'?" in err
    right = store(small_multiclass.table, tmp_path / "right.csv")
    status, _, err = predict(capsys, registry, "--input", right, "--output", tmp_path / "out", "--keep", "pric")
    assert status == 1 and f"no column 'pric' in {right}" in err and "--keep price?" in err
    status, _, err = predict(capsys, registry, "--input", right, "--output", tmp_path / "out", "--keep", "zzz")
    assert status == 1 and "the columns are size, value" in err
    named = store(small_multiclass.table.with_columns(label=1), tmp_path / "named.csv")
    status, _, err = predict(capsys, registry, "--input", named, "--output", tmp_path / "out", "--keep", "label")
    assert status == 1 and "'label'" in err and "file, row, label, probability_low" in err
    typed = store(small_multiclass.table.with_columns(size=pl.lit(b"1")), tmp_path / "typed.parquet")
    status, _, err = predict(capsys, registry, "--input", typed, "--output", tmp_path / "out")
    assert status == 1 and "column 'size' of type Binary" in err
    assert not (tmp_path / "out").exists()


def test_inputs_that_are_no_tables_are_named(registry: str, table: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "empty.csv").touch()
    (tmp_path / "lies.parquet").write_text("not Parquet")
    (tmp_path / "delta" / "_delta_log").mkdir(parents=True)
    (tmp_path / "zip.csv").write_bytes(b"PK\x03\x04")
    (tmp_path / "twice.csv").write_text("a,a\n1,2\n")
    (tmp_path / "odd.log").write_text("hello")
    for name, text in {
        "empty.csv": "is empty (0 bytes)",
        "lies.parquet": "is not Parquet. Remedy: give the file",
        "delta": "is a Delta table",
        "tables.parquet": f"correct --input; did you mean {table}?",
        "*.feather": "matches none",
        "table.xlsx": "no file",
        "zip.csv": "is a ZIP or Excel file. Remedy: unzip it, or save the sheet as CSV",
        "twice.csv": "put one above it if there is none",
        "odd.log": "known by the file's ending (.csv",
    }.items():
        status, _, err = predict(capsys, registry, "--input", tmp_path / name, "--output", tmp_path / "out")
        assert status == 1 and text in err and name.strip("*") in err and "data." not in err, err
    assert not (tmp_path / "out").exists()
    status, _, err = predict(capsys, registry, "--input", table, "--output", tmp_path / "out.csv")
    assert (
        status == 1
        and f"name a folder, like --output {tmp_path / 'out'};" in err
        and not (tmp_path / "out.csv").exists()
    )


def test_folders_of_others_are_left_alone(registry: str, table: Path, tmp_path: Path, capsys: Capture) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").touch()
    status, _, err = predict(capsys, registry, "--input", table, "--output", foreign)
    assert (
        status == 1 and "holds thesis.txt, but no _run.json" in err and [*foreign.iterdir()] == [foreign / "thesis.txt"]
    )
    status, _, err = predict(capsys, registry, "--input", table, "--output", table)
    assert status == 1 and "is a file" in err
    status, _, err = predict(capsys, registry, "--input", table, "--output", table / "below")
    assert status == 1 and "Not a directory" in err
    status, _, err = predict(capsys, registry, "--input", tmp_path, "--output", tmp_path / "out")
    assert status == 1 and "--output lies outside" in err
    (foreign / "thesis.txt").rename(foreign / "_run.json")
    status, _, err = predict(capsys, registry, "--input", table, "--output", foreign)
    assert status == 1 and "_run.json is no JSON" in err


def test_two_runs_never_work_in_one_folder(
    registry: str, table: Path, tmp_path: Path, capsys: Capture, begun: Callable[..., Any]
) -> None:
    import fcntl

    words = begun(table, tmp_path / "out")
    with (tmp_path / "out" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status, _, err = predict(capsys, registry, *words)
    assert status == 1 and "another process is at work" in err
