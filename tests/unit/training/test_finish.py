"""Training that ends before its last epoch: at the time limit, or because SIGUSR1 asked. Real runs, real signals."""

import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training_parts import Network, network, settings, split

from tidemill.settings import Objective
from tidemill.settings.training import TrainingSettings
from tidemill.training import signals
from tidemill.training.fit import Fit, fit
from tidemill.training.progress import spoken
from tidemill.training.record import best_epoch

LIMIT = 2.0  # seconds


def run(
    folder: Path, chosen: TrainingSettings, *, log: Callable[..., Any] | None = None, model: nn.Module | None = None
) -> Fit:
    return fit(
        chosen,
        seed=3,
        network=model or network(),
        objective=Objective.BINARY,
        train=split(300),
        validation=split(90, seed=1),
        folder=folder,
        log=log,
    )


class Slow(Network):
    """Takes longer than the time limit over one batch in the middle of the second epoch, of 75 batches."""

    batches = 0

    def forward(self, numeric_BN: torch.Tensor, categorical_BC: torch.Tensor) -> torch.Tensor:
        self.batches += self.training
        if self.training and self.batches == 100:
            time.sleep(LIMIT)
        return super().forward(numeric_BN, categorical_BC)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[..., Any]:
    caplog.set_level(logging.INFO, logger="tidemill")
    return lambda: "\n".join(caplog.messages)


@pytest.mark.slow
def test_the_time_limit_ends_training_in_the_middle_of_an_epoch_with_the_best_so_far(
    tmp_path: Path, said: Callable[..., Any]
) -> None:
    ended = run(tmp_path, settings(max_epochs=1_000, batch_size=4, max_minutes=LIMIT / 60), model=Slow())
    assert ended.epochs < 1_000
    assert ended.seconds >= LIMIT
    assert 0 < ended.history[-1]["share"] < 1
    assert all("share" not in entry for entry in ended.history[:-1])
    assert ended.best_epoch == best_epoch(ended.history)
    assert f"Training ended early (training.max_minutes=0.0333333), in epoch {ended.epochs} of at most 1000." in said()


def test_a_time_limit_that_ends_before_the_first_epoch_gives_what_there_is(tmp_path: Path) -> None:
    ended = run(tmp_path, settings(max_epochs=5, batch_size=4, max_minutes=1e-7))
    assert (ended.epochs, ended.best_epoch) == (1, 1)
    (entry,) = ended.history
    assert (entry["step"], entry["share"]) == (1, round(1 / 75, 4))
    assert ended.best_loss == entry["validation_loss"]


@pytest.mark.slow
def test_time_before_a_resumption_counts(tmp_path: Path) -> None:
    chosen = settings(max_epochs=1_000, batch_size=4, max_minutes=1 / 60)
    first = run(tmp_path, chosen, model=Slow())
    same = run(tmp_path, replace(chosen, resume=str(tmp_path)), model=Slow())
    assert same.history == first.history, "nothing is left of the time"
    longer = replace(chosen, resume=str(tmp_path), max_epochs=first.epochs + 1, max_minutes=None)
    more = run(tmp_path, longer, model=Slow())
    assert more.history[:-1] == first.history
    assert "share" not in more.history[-1]


def test_a_limit_that_is_not_reached_changes_nothing(tmp_path: Path) -> None:
    free = run(tmp_path / "free", settings())
    limited = run(tmp_path / "limited", settings(max_minutes=5))
    for name, tensor in free.network.state_dict().items():
        assert torch.equal(tensor, limited.network.state_dict()[name])


def test_the_signal_ends_training_at_once_and_later_ones_do_no_harm(tmp_path: Path, said: Callable[..., Any]) -> None:
    def log(figures: dict[str, float], step: int) -> None:
        if "batch_loss" in figures:
            os.kill(os.getpid(), signal.SIGUSR1)

    ended = run(tmp_path, settings(max_epochs=1_000, batch_size=4), log=log)
    assert (ended.epochs, ended.history[0]["step"]) == (1, 50)
    assert f"kill -USR1 {os.getpid()}" in said()
    assert "Training ended early (SIGUSR1), in epoch 1 of at most 1000. The best so far, epoch 1" in said()
    os.kill(os.getpid(), signal.SIGUSR1)
    assert "SIGUSR1: training has ended already; the run goes on to its end" in said()


def test_the_signal_between_epochs_ends_training_with_whole_epochs(tmp_path: Path) -> None:
    def log(figures: dict[str, float], step: int) -> None:
        if figures.get("epoch") == 2:
            os.kill(os.getpid(), signal.SIGUSR1)

    ended = run(tmp_path, settings(max_epochs=1_000), log=log)
    assert ended.epochs == 2
    assert "share" not in ended.history[-1]


def test_the_signal_before_training_is_answered(said: Callable[..., Any]) -> None:
    signals.await_training()
    os.kill(os.getpid(), signal.SIGUSR1)
    assert "SIGUSR1: training has not begun, so there is nothing to finish with yet." in said()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["signal", "limit"])
def test_two_processes_end_together(tmp_path: Path, way: Any) -> None:
    def log(figures: dict[str, float], step: int) -> None:
        if way == "signal" and "batch_loss" in figures:
            os.kill(os.getpid(), signal.SIGUSR1)

    limit = {"max_minutes": 3 / 60} if way == "limit" else {}
    ended = run(tmp_path, settings(max_epochs=100_000, batch_size=4, devices=2, **limit), log=log, model=Slow())
    assert 0 < ended.epochs < 1_000
    assert ended.best_epoch == best_epoch(ended.history)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3, "a minute"), (70, "about 1 minute"), (250, "about 4 minutes"), (9_000, "about 2.5 hours")],
)
def test_estimates_are_said_in_words(seconds: int, text: str) -> None:
    assert spoken(seconds) == text
