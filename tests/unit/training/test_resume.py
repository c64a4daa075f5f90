import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from training_parts import network, settings, split

from tidemill.errors import TrainingError
from tidemill.settings import Objective
from tidemill.settings.training import CHECKPOINT
from tidemill.training import resume
from tidemill.training.fit import fit

HERE = Path(__file__).parent


def run(
    folder: Any,
    chosen: Any,
    *,
    seed: Any = 3,
    train: Any = None,
    log: Any = None,
    model: Any = None,
    objective: Any = Objective.BINARY,
) -> Any:
    return fit(
        chosen,
        seed=seed,
        network=model or network(dropout=0.2),
        objective=objective,
        train=train or split(300),
        validation=split(90, seed=1),
        folder=folder,
        log=log,
    )


def same(one: Any, other: Any) -> None:
    for name, tensor in one.network.state_dict().items():
        assert torch.equal(tensor, other.network.state_dict()[name]), name
    for before, after in zip(one.history, other.history, strict=True):
        assert {**before, "seconds": 0} == {**after, "seconds": 0}
    assert (one.best_epoch, one.best_loss, one.epochs) == (other.best_epoch, other.best_loss, other.epochs)


class StopError(Exception):
    pass


def interrupted(folder: Any, chosen: Any, *, step: Any) -> None:
    """A run that ends in the middle of an epoch."""

    def log(figures: Any, now: Any) -> None:
        if now >= step and "batch_loss" in figures:
            raise StopError

    with pytest.raises(StopError):
        run(folder, chosen, log=log)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_an_interrupted_run_resumes_to_the_same_bits(tmp_path: Path, elsewhere: Any) -> None:
    chosen = settings(max_epochs=3, batch_size=4)
    whole = run(tmp_path / "whole", chosen)
    interrupted(tmp_path / "cut", chosen, step=125)
    target = tmp_path / ("new" if elsewhere else "cut")
    logged = []
    resumed = run(
        target,
        replace(chosen, resume=str(tmp_path / "cut")),
        model=network(dropout=0.2),
        log=lambda figures, step: logged.append((figures, step)),
    )
    same(whole, resumed)
    assert (target / "history.jsonl").read_text().count("\n") == 3
    epochs = [figures["epoch"] for figures, _ in logged if "validation_loss" in figures]
    assert epochs == [1, 2, 3]


@pytest.mark.slow
def test_early_stopping_counts_on_over_an_interruption(tmp_path: Path) -> None:
    chosen = settings(max_epochs=60, patience=2, learning_rate=0.3, batch_size=4)
    whole = run(tmp_path / "whole", chosen)
    assert whole.epochs < 60
    interrupted(tmp_path / "cut", chosen, step=75 * (whole.best_epoch + 1) + 40)
    same(whole, run(tmp_path / "cut", replace(chosen, resume=str(tmp_path / "cut"))))


@pytest.mark.parametrize("chosen", [settings(max_epochs=2), settings(max_epochs=60, patience=1, learning_rate=0.3)])
def test_a_finished_run_returns_its_result_without_training(tmp_path: Path, chosen: Any) -> None:
    first = run(tmp_path / "a", chosen)
    second = run(tmp_path / "b", replace(chosen, resume=str(tmp_path / "a" / "checkpoints" / "last.ckpt")))
    same(first, second)
    assert first.seconds == second.seconds
    assert (tmp_path / "b" / "history.jsonl").is_file()
    third = run(tmp_path / "c", replace(chosen, resume=str(tmp_path / "b")))
    same(first, third)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 0.5}, "training.learning_rate: 0.01 in the checkpoint, 0.5 now"),
        ({"warmup_epochs": 1.5}, "training.warmup_epochs: 0.5 in the checkpoint, 1.5 now"),
    ],
)
def test_other_settings_are_refused_by_name(tmp_path: Path, change: Any, message: Any) -> None:
    run(tmp_path, settings(max_epochs=2))
    with pytest.raises(TrainingError, match=message):
        run(tmp_path, settings(**{"max_epochs": 2, "resume": str(tmp_path), **change}))


def test_when_to_end_may_change_on_resumption(tmp_path: Path) -> None:
    first = run(tmp_path, settings(max_epochs=2, patience=1))
    more = settings(max_epochs=4, patience=9, max_minutes=10, resume=str(tmp_path))
    again = run(tmp_path, more)
    assert (again.epochs, again.history[:2]) == (4, first.history)
    fewer = run(tmp_path, settings(max_epochs=3, resume=str(tmp_path)))
    assert fewer.history == again.history, "what was trained stays"


def test_a_checkpoint_of_an_earlier_version_that_kept_when_to_end_is_resumed(tmp_path: Path) -> None:
    run(tmp_path, settings(max_epochs=1))
    before = resume.read(tmp_path)
    replace(before, identity={**before.identity, "training.max_epochs": 1, "training.patience": 3}).write(tmp_path)
    assert run(tmp_path, settings(max_epochs=2, resume=str(tmp_path))).epochs == 2


def test_another_seed_other_data_and_another_network_are_refused(tmp_path: Path) -> None:
    run(tmp_path, settings(max_epochs=1))
    again = settings(max_epochs=1, resume=str(tmp_path))
    with pytest.raises(TrainingError, match="seed: 3 in the checkpoint, 4 now"):
        run(tmp_path, again, seed=4)
    with pytest.raises(TrainingError, match=r"the training split \(rows and fingerprint\): 300, \w+ in the checkpoint"):
        run(tmp_path, again, train=split(300, seed=9))
    with pytest.raises(
        TrainingError, match=r"shapes: layers.0.weight \[8, 4\] in the checkpoint, layers.0.weight \[9, 4\]"
    ):
        run(tmp_path, again, model=network(dropout=0.2, width=9))
    with pytest.raises(TrainingError, match=r"Dropout\(p=0.2.* in the checkpoint, .*Dropout\(p=0.4"):
        run(tmp_path, again, model=network(dropout=0.4))
    with pytest.raises(TrainingError, match="objective: binary in the checkpoint, regression now"):
        run(tmp_path, again, objective=Objective.REGRESSION)


def test_where_and_how_to_compute_may_change(tmp_path: Path) -> None:
    run(tmp_path, settings(max_epochs=1))
    run(tmp_path, settings(max_epochs=1, resume=str(tmp_path), threads=None, progress=True, devices=2))


@pytest.mark.parametrize("name", ["nowhere", "nowhere/last.ckpt", "."])
def test_a_missing_checkpoint_is_named(tmp_path: Path, name: Any) -> None:
    with pytest.raises(
        TrainingError, match=r"training.resume must name a run's folder or its checkpoint. Got: .*not a file"
    ):
        run(tmp_path, settings(resume=str(tmp_path / name)))


def damaged(content: Any) -> Iterator[Any]:
    yield b""
    yield content[:1000]
    yield content[: len(content) // 2]
    yield b"\0" * len(content)
    yield b"not a checkpoint"


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    run(tmp_path, settings(max_epochs=1))
    path = tmp_path / CHECKPOINT
    for content in damaged(path.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(
            TrainingError, match=r"training.resume must name a whole checkpoint that this version wrote"
        ):
            run(tmp_path, settings(max_epochs=1, resume=str(tmp_path)))


class Evil:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("evil"),)


@pytest.mark.parametrize("content", [{"format": 2}, {"format": 1}, {}, [1], Evil()])
def test_a_file_of_another_kind_is_refused_and_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(TrainingError, match="a whole checkpoint that this version wrote"):
        run(tmp_path, settings(resume=str(tmp_path / "other.ckpt")))
    assert not (tmp_path / "evil").exists()


def test_a_disk_that_is_full_leaves_the_earlier_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = settings(max_epochs=3)
    whole = run(tmp_path / "whole", chosen)
    replaced = Path.replace

    def full(path: Any, target: Any) -> Any:
        if len(path.with_name("last.ckpt").read_bytes() if path.with_name("last.ckpt").exists() else b"") > 0:
            raise OSError(28, "No space left on device")
        return replaced(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(
            TrainingError, match=r"A checkpoint must be written after each epoch.*No space left on device"
        ):
            run(tmp_path / "cut", chosen)
    assert [path.name for path in (tmp_path / "cut" / "checkpoints").iterdir()] == ["last.ckpt"]
    same(whole, run(tmp_path / "cut", replace(chosen, resume=str(tmp_path / "cut"))))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="A checkpoint must be written after each epoch"):
        run(tmp_path / "file", settings(max_epochs=1))


VICTIM = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from test_resume import run
from training_parts import settings
run(Path({folder!r}), settings(max_epochs=6, batch_size=2, progress=True))
"""


def ended_by(number: Any, folder: Any) -> Any:
    """A run that gets a signal in the middle of an epoch; returns its exit status."""
    victim = subprocess.Popen([sys.executable, "-c", VICTIM.format(here=str(HERE), folder=str(folder))])
    history = folder / "history.jsonl"
    while not history.exists() or history.read_text().count("\n") < 2:
        assert victim.poll() is None
        time.sleep(0.01)
    victim.send_signal(number)
    return victim.wait()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_middle_of_an_epoch_changes_nothing(tmp_path: Path, number: Any) -> None:
    chosen = settings(max_epochs=6, batch_size=2)
    whole = run(tmp_path / "whole", chosen)
    folder = tmp_path / "ended"
    assert ended_by(number, folder) == -number
    assert 2 <= len(resume.read(folder).history) < 6
    same(whole, run(folder, replace(chosen, resume=str(folder))))
