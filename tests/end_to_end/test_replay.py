"""`tidemill replay` as a user starts it: a small table, a real server, a real steward, and the page at the end."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from chain import MODEL, QUICK, ROOT, aims_at, shop

from patience import PATIENCE, until
from tidemill.replay.run import OUTCOME, PAGE, SENT

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]

TABLE = [
    "+experiment=table",
    "name=shop",
    "data.time=at",
    "data.time_is_input=true",
    *MODEL,
    *QUICK,
    "tracking.wandb=disabled",
]


def command(folder: Path, table: Path, *more: str) -> list[str]:
    words = [*TABLE, *aims_at("bought"), f"data.path={table}"]
    options = ["--folder", str(folder), "--from", "2013-08-01", "--label-delay", "3", *more]
    return [sys.executable, "-m", "tidemill.cli", "replay", *words, *options]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shop(tmp_path_factory.mktemp("shop") / "shop.csv", rows=1500)


def left(folder: Path) -> list[str]:
    """Processes that have to do with a replay's folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                text = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(folder) in text:
                found.append(text)
    return found


def test_a_week_of_a_shop(table: Path, tmp_path: Path) -> None:
    folder = tmp_path / "replay"
    more = ["--until", "2013-08-08", "--fault", "missing:city@2013-08-04", "--rows", "3"]
    done = subprocess.run(command(folder, table, *more), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    outcome = json.loads((folder / OUTCOME).read_text())
    sent = pl.read_parquet(folder / SENT)
    assert outcome["records"] == outcome["served"] == outcome["labelled"] == sent.height > 20
    assert (outcome["failed"], outcome["unrecorded"], outcome["twice"]) == (0, 0, 0)
    assert outcome["gap"] < 1e-4, "the bundle gives the answers again that were recorded"
    status = json.loads((folder / "ledger" / "shop" / "steward" / "status.json").read_text())
    assert status["seen_until"] >= "2013-08-07", "time has waited for the steward"
    page = (folder / PAGE).read_text()
    assert "missing:city@2013-08-04" in page and "Champion against the first version" in page
    assert f"{sent.height:,} of {sent.height:,} records answered, 0 failed" in done.stdout
    assert left(folder) == []


def test_what_the_gate_refuses_is_explained_and_the_folder_is_free_again(table: Path, tmp_path: Path) -> None:
    folder = tmp_path / "replay"
    poor = {
        "training.max_epochs=8": "training.max_epochs=1",
        "training.learning_rate=0.01": "training.learning_rate=0.00001",
    }
    words = [poor.get(word, word) for word in command(folder, table, "--check")]
    refused = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 1, refused.stdout + refused.stderr
    assert "it refused shop 1: It does not beat the trivial baseline for certain" in refused.stderr
    report = folder / "first" / "bundle" / "report.html"
    assert f"Its report: {report}" in refused.stderr and report.is_file()
    again = subprocess.run(command(folder, table, "--check"), cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 0, again.stdout + again.stderr
    assert (folder / PAGE).is_file()
    third = subprocess.run(command(folder, table), cwd=ROOT, capture_output=True, text=True)
    assert third.returncode == 1 and "name another one with --folder" in third.stderr


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--from", "2014-08-01"], "go from 2013-01-01"),
        (["--fault", "missing:town@2013-09-01"], "inputs are size, price, city"),
        (["--fault", "missing:city@2015-09-01"], "A fault lies in the time that is replayed"),
        (["--policy", "{wrong}"], "watches.performance.slices names columns of the model's table"),
    ],
)
def test_what_is_refused_before_a_model_is_trained(table: Path, tmp_path: Path, more: list[str], said: str) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("watches: {performance: {slices: [town]}}")
    words = command(tmp_path / "replay", table, *(word.format(wrong=wrong) for word in more))
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and said in done.stderr, done.stdout + done.stderr
    assert "Training" not in done.stdout and not (tmp_path / "replay" / "first").exists()


def test_ctrl_c_leaves_nothing_running(table: Path, tmp_path: Path) -> None:
    folder = tmp_path / "replay"
    given = {"cwd": ROOT, "stdout": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen(command(folder, table, "--speed", "0.01"), **given) as process:  # type: ignore[call-overload]
        assert any("are to come" in line for line in process.stdout)
        until(lambda: (folder / "ledger" / "shop" / "steward").is_dir() or process.poll() is not None)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        said = process.stdout.read()
        assert process.wait(PATIENCE) == 130
    assert "Stopped: server, steward and trainings have been ended." in said
    assert left(folder) == []
