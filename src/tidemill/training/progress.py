"""What a person sees while a network trains: a line per epoch, and within epochs a bar, or lines where no bar can be.

Lightning's own bar updates at every step, which takes as long as a small network's step does.
"""

import time
from typing import Any

from lightning import Callback, Trainer
from rich.console import Console
from rich.progress import Progress as Bar

from tidemill.training.datamodule import Batch
from tidemill.training.finish import Finish
from tidemill.training.module import Module
from tidemill.training.record import Record, best_epoch

STEPS_PER_UPDATE = 25
SECONDS_PER_LINE = 10.0


def spoken(seconds: float) -> str:
    """A time that is only estimated: "about 4 minutes"."""
    if seconds < 55:
        return "a minute"
    if seconds < 3600:
        minutes = round(seconds / 60)
        return f"about {minutes} minute{'s' if minutes > 1 else ''}"
    return f"about {seconds / 3600:.1f} hours"


class Progress(Callback):
    """Writes to standard error. Must come after `record` and `finish` in the callbacks: it says what they know."""

    def __init__(self, record: Record, epochs: int, finish: Finish) -> None:
        self.record, self.epochs, self.finish = record, epochs, finish
        self.before = len(record.history)
        self.spoken = time.monotonic()

    def on_train_start(self, trainer: Trainer, module: Module) -> None:  # type: ignore[override]
        self.console = Console(stderr=True, highlight=False, soft_wrap=True, quiet=not trainer.is_global_zero)
        self.bar = Bar(console=self.console, transient=True, disable=self.console.quiet or not self.console.is_terminal)
        self.bar.start()
        self.task = self.bar.add_task("")

    def on_train_epoch_start(self, trainer: Trainer, module: Module) -> None:  # type: ignore[override]
        self.began = time.monotonic()
        self.title = f"epoch {len(self.record.history) + 1}/{self.epochs}"
        title = self.title + self._left(trainer, 0)
        self.bar.reset(self.task, description=title, total=int(trainer.num_training_batches))

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
        left = self._left(trainer, batch_idx + 1)
        self.bar.update(self.task, completed=batch_idx + 1, description=self.title + left)
        if not self.console.is_terminal and time.monotonic() - self.spoken > SECONDS_PER_LINE:
            self._say(f"{self.title}: step {batch_idx + 1:,} of {int(trainer.num_training_batches):,}{left}")

    def on_train_epoch_end(self, trainer: Trainer, module: Module) -> None:  # type: ignore[override]
        entry, best = self.record.history[-1], best_epoch(self.record.history)
        verdict = "best" if best == entry["epoch"] else f"best was epoch {best}"
        self._say(
            f"{self.title}: loss {entry['train_loss']:.5f}, validation {entry['validation_loss']:.5f} ({verdict}), "
            f"{entry['seconds']:.1f} s{'' if trainer.should_stop else self._left(trainer, 0)}"
        )

    def _left(self, trainer: Trainer, steps: int) -> str:
        """The time until the last epoch's end, by the epochs before, or by this first one's steps so far.

        Args:
            steps: of this epoch, that are done.
        """
        share = steps / max(1, int(trainer.num_training_batches))
        finished = self.record.history[self.before :]
        if finished:
            each = sum(entry["seconds"] for entry in finished) / len(finished)
        elif share:
            each = (time.monotonic() - self.began) / share
        else:
            return ""
        seconds = each * (self.epochs - len(self.record.history) - share)
        limit = self.finish.left
        return f", at most {spoken(seconds if limit is None else min(seconds, limit))} left" if seconds > 0 else ""

    def teardown(self, trainer: Trainer, module: Module, stage: str) -> None:  # type: ignore[override]
        if hasattr(self, "bar"):
            self.bar.stop()

    def _say(self, line: str) -> None:
        self.spoken = time.monotonic()
        self.console.print(line)
