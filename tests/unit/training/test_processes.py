import os
import queue
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from training_parts import Network, network, settings, split

from tidemill.errors import TrainingError
from tidemill.settings import Objective
from tidemill.training.fit import fit
from tidemill.training.processes import _listen

pytestmark = pytest.mark.slow


def run(folder: Any, devices: Any, *, model: Any = None, train: Any = None, log: Any = None, **changes: Any) -> Any:
    return fit(
        settings(devices=devices, max_epochs=2, **changes),
        seed=3,
        network=model or network(),
        objective=Objective.BINARY,
        train=train or split(101, weight=True),
        validation=split(65, seed=1, weight=True),
        folder=folder,
        log=log,
    )


def test_two_processes_agree_with_one(tmp_path: Path) -> None:
    """101 rows in batches of 25: uneven shares, and a last batch of 26."""
    logged = []
    one = run(tmp_path / "one", 1, batch_size=25)
    two = run(tmp_path / "two", 2, batch_size=25, log=lambda figures, step: logged.append((figures, step)))
    for name, tensor in one.network.state_dict().items():
        torch.testing.assert_close(two.network.state_dict()[name], tensor, rtol=1e-5, atol=1e-5)
    for before, after in zip(one.history, two.history, strict=True):
        assert after["train_loss"] == pytest.approx(before["train_loss"], rel=1e-5)
        assert after["validation_loss"] == pytest.approx(before["validation_loss"], rel=1e-5)
        assert after["step"] == before["step"]
    assert two.device == "2 × cpu, 32-true"
    assert [(figures["epoch"], step) for figures, step in logged] == [(1, 4), (2, 8)]
    files = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"last.ckpt", "history.jsonl"}


def test_more_processes_than_rows_in_a_batch(tmp_path: Path) -> None:
    one = run(tmp_path / "one", 1, batch_size=1, train=split(5))
    two = run(tmp_path / "two", 2, batch_size=1, train=split(5))
    for name, tensor in one.network.state_dict().items():
        torch.testing.assert_close(two.network.state_dict()[name], tensor, rtol=1e-5, atol=1e-5)


def test_two_processes_go_on_where_one_was_stopped(tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    def log(figures: Any, step: Any) -> None:
        if "validation_loss" in figures:
            raise StopError

    one = run(tmp_path / "one", 1)
    with pytest.raises(StopError):
        run(tmp_path / "two", 1, log=log)
    two = run(tmp_path / "two", 2, resume=str(tmp_path / "two"))
    assert two.history[0] == one.history[0] | {"seconds": two.history[0]["seconds"]}
    for name, tensor in one.network.state_dict().items():
        torch.testing.assert_close(two.network.state_dict()[name], tensor, rtol=1e-5, atol=1e-5)


def test_a_fault_of_the_log_does_not_stop_the_reading() -> None:
    channel = queue.SimpleQueue()
    for item in [({"a": 1.0}, 1), ({"a": 2.0}, 2), None]:
        channel.put(item)

    def log(figures: Any, step: Any) -> None:
        raise OSError("the tracker is gone")

    errors = []
    _listen(channel, log, errors)
    assert [str(error) for error in errors] == ["the tracker is gone"]
    assert channel.empty()


def test_an_error_in_a_process_comes_back_as_it_is(tmp_path: Path) -> None:
    rows = split(101)
    rows.numeric[3, 0] = float("nan")
    with pytest.raises(TrainingError, match="The loss must stay finite"):
        run(tmp_path, 2, train=rows)


def test_an_error_in_one_process_ends_the_others(tmp_path: Path) -> None:
    """Only the first process writes checkpoints."""
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="A checkpoint must be written after each epoch"):
        run(tmp_path / "file", 2)


class Doomed(Network):
    def forward(self, numeric_BN: Any, categorical_BC: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Faulty(Network):
    def forward(self, numeric_BN: Any, categorical_BC: Any) -> None:
        raise RuntimeError("a fault of the network")


def test_a_killed_process_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"must live until the end. Got: process \d was ended by SIGKILL"):
        run(tmp_path, 2, model=Doomed())


def test_other_faults_bring_their_trace(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="a fault of the network"):
        run(tmp_path, 2, model=Faulty())
