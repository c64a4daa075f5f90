"""The book of a run: losses by epoch, the best weights, when to stop, and the checkpoint."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer

from tidemill.models.meaning import Meaning
from tidemill.training.datamodule import Batch
from tidemill.training.module import Module
from tidemill.training.resume import Checkpoint

Log = Callable[[dict[str, float], int], None]
"""Takes figures by name and the optimiser step they belong to."""

HISTORY = "history.jsonl"
STEPS_PER_LOOK = 50
"""Steps between looks at the running loss: each look makes a GPU wait."""


class Record(Callback):
    """Writes one entry per epoch and the checkpoint; stops a run that gets no better.

    An entry has epoch (from 1), step (optimiser steps so far), train_loss, validation_loss, learning_rate (of the
    last step) and seconds; and, where training ended in the middle of it, the share of its steps that were taken.
    Only the first process writes.

    Args:
        started: where the run is resumed; None starts anew.
        meaning: what the network's weights belong to, for the checkpoint.

    Attributes:
        report: set by whoever runs it; gets each entry, and `batch_loss` and `learning_rate` every few steps.
    """

    report: Log

    def __init__(
        self,
        folder: Path,
        identity: dict[str, Any],
        *,
        started: Checkpoint | None,
        patience: int,
        meaning: Meaning | None = None,
    ) -> None:
        self.folder, self.identity, self.patience, self.started = folder, identity, patience, started
        self.meaning = meaning or {}
        self.history = list(started.history) if started else []
        self.best = started.best if started else {}
        self.began = time.perf_counter()
        self.steps = 0

    def on_train_start(self, trainer: Trainer, module: Module) -> None:  # type: ignore[override]
        if self.started:
            module.network.load_state_dict(self.started.network)
            trainer.optimizers[0].load_state_dict(self.started.optimizer)
            trainer.precision_plugin.load_state_dict(self.started.precision)

    def on_train_epoch_start(self, trainer: Trainer, module: Module) -> None:  # type: ignore[override]
        self.began = time.perf_counter()

    def on_train_batch_end(  # type: ignore[override]
        self,
        trainer: Trainer,
        module: Module,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        self.steps = batch_idx + 1
        if self.steps % STEPS_PER_LOOK == 0:
            loss = module.recent_loss()
            if trainer.is_global_zero:
                self.report({"batch_loss": loss, "learning_rate": module.learning_rate}, module.step)

    def on_train_epoch_end(self, trainer: Trainer, module: Module) -> None:  # type: ignore[override]
        train, validation = module.losses()
        entry = {
            "epoch": module.epoch + 1,
            "step": module.step,
            "train_loss": train,
            "validation_loss": validation,
            "learning_rate": module.learning_rate,
            "seconds": round(time.perf_counter() - self.began, 3),
        }
        if self.steps < trainer.num_training_batches:
            entry["share"] = round(self.steps / trainer.num_training_batches, 4)
        self.history.append(entry)
        if no_better(self.history, self.patience):
            trainer.should_stop = True
        if trainer.is_global_zero:
            if best_epoch(self.history) == len(self.history):
                self.best = {name: tensor.to("cpu", copy=True) for name, tensor in module.network.state_dict().items()}
            self._write(trainer, module)
            self.report({name: value for name, value in entry.items() if name != "step"}, module.step)

    def _write(self, trainer: Trainer, module: Module) -> None:
        Checkpoint(
            identity=self.identity,
            history=self.history,
            network=module.network.state_dict(),
            optimizer=trainer.optimizers[0].state_dict(),
            precision=trainer.precision_plugin.state_dict(),
            best=self.best,
            device=describe(trainer),
            meaning=self.meaning,
        ).write(self.folder)
        write_history(self.folder, self.history)


def write_history(folder: Path, history: list[dict[str, float]]) -> None:
    lines = "".join(json.dumps(entry) + "\n" for entry in history)
    (folder / HISTORY).write_text(lines, encoding="utf-8")


def best_epoch(history: list[dict[str, float]]) -> int:
    """The first epoch (from 1) with the lowest validation loss."""
    losses = [entry["validation_loss"] for entry in history]
    return losses.index(min(losses)) + 1


def seconds(history: list[dict[str, float]]) -> float:
    """Spent in epochs."""
    return sum(entry["seconds"] for entry in history)


def no_better(history: list[dict[str, float]], patience: int) -> bool:
    """Whether the last `patience` epochs brought no lower validation loss."""
    return len(history) - best_epoch(history) >= patience


def describe(trainer: Trainer) -> str:
    """What the run is computed on: "cpu, 32-true", "2 × NVIDIA H200, bf16-mixed"."""
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    count = f"{trainer.world_size} × " if trainer.world_size > 1 else ""
    return f"{count}{name}, {trainer.precision}"
