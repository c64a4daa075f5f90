"""What a person sees while a network trains: a line per epoch, and within epochs a bar, or lines where no bar can be.

Lightning's own bar updates at every step, which takes as long as a small network's step does.
"""

import time
from typing import Any

from lightning import Callback, Trainer
from rich.console import Console
from rich.progress import Progress as Bar

from tidemill.training.datamodule import Batch
from tidemill.training.module import Module
from tidemill.training.record import Record, best_epoch

STEPS_PER_UPDATE = 25
SECONDS_PER_LINE = 10.0


class Progress(Callback):
    """Writes to standard error. Reads the finished epochs from `record`, which must come before it in the callbacks."""

    def __init__(self, record: Record, epochs: int) -> None:
        self.record, self.epochs = record, epochs
        self.spoken = time.monotonic()

    def on_train_start(self, trainer: Trainer, module: Module) -> None:  # type: ignore[override]
        self.console = Console(stderr=True, highlight=False, soft_wrap=True, quiet=not trainer.is_global_zero)
        self.bar = Bar(console=self.console, transient=True, disable=self.console.quiet or not self.console.is_terminal)
        self.bar.start()
        self.task = self.bar.add_task("")

    def on_train_epoch_start(self, trainer: Trainer, module: Module) -> None:  # type: ignore[override]
        self.title = f"epoch {len(self.record.history) + 1}/{self.epochs}"
        self.bar.reset(self.task, description=self.title, total=int(trainer.num_training_batches))

    def on_train_batch_end(  # type: ignore[override]
        self,
        trainer: Trainer,
        module: Module,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        if (batch_idx + 1) % STEPS_PER_UPDATE:
            return
        self.bar.update(self.task, completed=batch_idx + 1)
        if not self.console.is_terminal and time.monotonic() - self.spoken > SECONDS_PER_LINE:
            self._say(f"{self.title}: step {batch_idx + 1:,} of {int(trainer.num_training_batches):,}")

    def on_train_epoch_end(self, trainer: Trainer, module: Module) -> None:  # type: ignore[override]
        entry, best = self.record.history[-1], best_epoch(self.record.history)
        verdict = "best" if best == entry["epoch"] else f"best was epoch {best}"
        self._say(
            f"{self.title}: loss {entry['train_loss']:.5f}, validation {entry['validation_loss']:.5f} ({verdict}), "
            f"{entry['seconds']:.1f} s"
        )

    def teardown(self, trainer: Trainer, module: Module, stage: str) -> None:  # type: ignore[override]
        if hasattr(self, "bar"):
            self.bar.stop()

    def _say(self, line: str) -> None:
        self.spoken = time.monotonic()
        self.console.print(line)
