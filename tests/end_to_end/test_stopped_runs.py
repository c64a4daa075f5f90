"""Runs that are stopped and resumed, run out of disk, run at once, or are given a secret."""

import json
import re
import shlex
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from warm import Warm
from wrong_uses_parts import check_refusal, content, done, job, place, registry, warm

from tidemill import cli
from tidemill.bundle.registry.registry import Registry

__all__ = ["done", "place", "registry", "warm"]

pytestmark = pytest.mark.slow
CONNECTION = "postgresql://me:hunter2@db.example.org/x"


# Stopped, and resumed


def epochs(folder: Path) -> int:
    """Trained so far in a run's folder."""
    file = folder / "history.jsonl"
    return file.read_text().count("\n") if file.exists() else 0


def result(folder: Path) -> tuple[list[dict[str, float]], dict[str, object], bytes]:
    """What a run came to, but for the time it took."""
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    for entry in history:
        del entry["seconds"]
    manifest = json.loads((folder / "bundle" / "manifest.json").read_text())
    return history, manifest["results"]["test"], (folder / "bundle" / "model.onnx").read_bytes()


def test_kill_9_in_training_is_resumed_to_the_same_result(warm: Warm, place: Path, done: Path) -> None:
    folder = place / "killed"
    end = warm.signal(signal.SIGKILL, lambda: epochs(folder / "run") == 2, job(place, "killed"), folder)
    assert end.returncode == -9
    assert Registry(folder / "registry").models() == []
    resumed = warm.run(job(place, "killed", f"training.resume={folder / 'run'}"), folder)
    assert resumed.returncode == 0, resumed.stderr
    assert "epoch 2/4" not in resumed.stderr and "epoch 4/4" in resumed.stderr
    assert result(folder / "run") == result(done)
    assert Registry(folder / "registry").aliases("m") == {"candidate": "1", "champion": "1"}


@pytest.mark.parametrize("moment", ["export", "registering"])
def test_kill_9_later_leaves_no_half_version_and_the_next_run_ends_well(
    warm: Warm, place: Path, done: Path, moment: str
) -> None:
    folder = place / moment
    words = job(place, moment, f"training.resume={done}")
    began = {
        "export": lambda: "Opening the test split" in (folder / "stdout.txt").read_text(),
        "registering": lambda: any((folder / "registry" / "m").glob(".staging-*")),
    }[moment]
    for _ in range(5):  # registering takes milliseconds: it may have ended before the signal
        registered = Registry(folder / "registry").versions("m")
        if warm.signal(signal.SIGKILL, began, words, folder).returncode == -9:
            break
    else:
        pytest.fail("the run was never caught in the act")
    registry = Registry(folder / "registry")
    for version in registry.versions("m"):  # one more, if it was killed just after
        registry.verify("m", version)
    assert len(registry.versions("m")) - len(registered) in (0, 1)
    assert cli.main(["registry", "list", "--registry", registry.path]) == 0
    end = warm.run(words, folder)
    assert end.returncode == 0, end.stderr
    newest = registry.versions("m")[-1]
    registry.verify("m", newest)
    assert registry.aliases("m")["candidate"] == newest


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_say_how_to_go_on_and_that_goes_on(
    warm: Warm, place: Path, number: signal.Signals, status: int
) -> None:
    name = f"a stop by {number.name}"
    folder = place / name
    end = warm.signal(number, lambda: epochs(folder / "run") == 1, job(place, name), folder)
    assert end.returncode == status
    assert "Traceback" not in end.stderr
    said = re.search(r"\nStopped\. .*Go on where the run left off:\n  python train\.py (.*)\n$", end.stderr)
    assert said, end.stderr
    words = shlex.split(said[1])
    assert words[-1] == f"training.resume={folder / 'run'}"
    going = warm.run([*words, f"hydra.run.dir={folder / 'run'}"], folder)
    assert going.returncode == 0, going.stderr
    assert "epoch 1/4" not in going.stderr


def test_sigusr1_ends_training_and_the_run_goes_on_to_its_version(warm: Warm, place: Path) -> None:
    folder = place / "enough"
    words = [*job(place, "enough"), "training.max_epochs=100000", "training.patience=100000"]
    words = list({word.split("=")[0].lstrip("+"): word for word in words}.values())
    end = warm.signal(signal.SIGUSR1, lambda: epochs(folder / "run") >= 1, words, folder)
    assert end.returncode == 0, end.stderr
    assert "Training ended early (SIGUSR1), in epoch" in end.stdout
    assert "kill -USR1" in end.stdout
    assert Registry(folder / "registry").versions("m") == ["1"]


def test_ctrl_c_before_an_epoch_says_that_nothing_is_lost(warm: Warm, place: Path) -> None:
    folder = place / "early"
    words = job(place, "early")
    end = warm.signal(signal.SIGINT, lambda: (folder / "run" / "schema.yaml").exists(), words, folder)
    assert (end.returncode, "Traceback" in end.stderr) == (130, False), end.stderr
    assert "so there is nothing to go on from. The registry is as it was." in end.stderr


# A full disk


def test_a_disk_that_is_full_in_the_run_folder_is_named(warm: Warm, place: Path, registry: Path, done: Path) -> None:
    before = content(registry)
    words = job(place, "full", f"training.resume={done}", registry=registry)
    limit = (done / "bundle" / "report.html").stat().st_size - 1
    end = warm.run(words, place / "full", file_limit=limit)
    check_refusal(end, "The run's folder, and every file that is named, can be read and written.")
    assert content(registry) == before
    end = warm.run(job(place, "fuller", registry=registry), place / "fuller", file_limit=10_000)
    check_refusal(end, "A checkpoint must be written after each epoch.")
    assert content(registry) == before


def test_a_disk_that_is_full_in_the_registry_leaves_it_as_it_was(warm: Warm, place: Path, done: Path) -> None:
    disk = place / "small_disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting a small disk needs rights that this user has not")
    try:
        words = job(place, "first", f"training.resume={done}", registry=disk)
        assert warm.run(words, place / "first").returncode == 0
        before = content(disk)
        check_refusal(warm.run(words, place / "first"), "No space left on device")
        assert content(disk) == before
        assert Registry(disk).aliases("m") == {"candidate": "1", "champion": "1"}
        assert not list(disk.rglob(".staging-*"))
    finally:
        subprocess.run(["umount", disk], check=True)


# Two at once, and secrets


def test_two_runs_at_once_get_a_version_each(warm: Warm, place: Path, done: Path) -> None:
    shared = place / "shared"
    with Warm() as other, ThreadPoolExecutor(2) as pool:
        ends = [
            pool.submit(one.run, job(place, name, f"training.resume={done}", registry=shared), place / name)
            for one, name in ((warm, "one"), (other, "other"))
        ]
        assert [end.result().returncode for end in ends] == [0, 0], [end.result().stderr for end in ends]
    registry = Registry(shared)
    assert registry.versions("m") == ["1", "2"]
    for version in registry.versions("m"):
        registry.verify("m", version)
    assert set(registry.aliases("m")) == {"candidate", "champion"}


@pytest.mark.parametrize("given", ["typed", "by_variable"])
def test_a_password_is_nowhere_in_what_a_run_writes(warm: Warm, place: Path, done: Path, given: str) -> None:
    folder = place / given
    value = CONNECTION if given == "typed" else "${oc.env:TIDEMILL_DB}"
    words = job(place, given, f"data.connection={value}", "tracking.wandb=offline", f"training.resume={done}")
    end = warm.run(words, folder, TIDEMILL_DB=CONNECTION, WANDB_API_KEY="", HOME=str(folder))
    assert end.returncode == 0, end.stderr
    assert list(folder.rglob("run-*.wandb")), "it was tracked"
    holding = [path for path in folder.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
    assert holding == []
    manifest = json.loads((folder / "run" / "bundle" / "manifest.json").read_text())
    assert manifest["settings"]["data"]["connection"] == "postgresql://me:***@db.example.org/x"


def test_a_password_is_nowhere_in_a_refusal_or_a_sweep(warm: Warm, place: Path) -> None:
    secret = [f"data.connection={CONNECTION}", "data=sql", "data.query=select 1"]
    alone = warm.run(
        job(place, "secret", *secret, "data.connection=postgresql://me:hunter2@127.0.0.1:1/x"), place / "secret"
    )
    check_refusal(alone, "(at postgresql://me:***@127.0.0.1:1/x)")
    wrong = warm.run(job(place, "secret", *secret, "data.connection={" + CONNECTION), place / "secret")
    check_refusal(wrong, "Settings must compose.")
    words = [word for word in job(place, "secrets", *secret, "model.width=0,-1") if not word.startswith("hydra.run")]
    warm.run(["-m", *words, f"hydra.sweep.dir={place / 'secrets' / 'trials'}"], place / "secrets")
    for folder in (place / "secret", place / "secrets"):
        assert [path for path in folder.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()] == []
