"""End training before its last epoch, with the best so far: at `training.max_minutes`, or because somebody asked."""

import time
from typing import Any

from lightning import Callback, LightningModule, Trainer

from tidemill.training.signals import Request

STEPS_BETWEEN = 10
"""Several processes agree after so many steps whether they end: each agreement makes them wait for each other."""


class Finish(Callback):
    """Stops in the middle of an epoch too: what was trained of it is validated and counts as the last epoch.

    Must come after `Record` in the callbacks.

    Args:
        seconds: that training may take from its start in this process; None: as long as it wants.
    """

    def __init__(self, request: Request, seconds: float | None) -> None:
        self.request, self.seconds = request, seconds
        self.began = time.monotonic()

    @property
    def left(self) -> float | None:
        """Seconds, or None where there is no limit."""
        return None if self.seconds is None else self.seconds - (time.monotonic() - self.began)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.began = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.world_size == 1 or (batch_idx + 1) % STEPS_BETWEEN == 0:
            self._look(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._look(trainer)

    def _look(self, trainer: Trainer) -> None:
        over = self.request.is_set() or (self.seconds is not None and time.monotonic() - self.began >= self.seconds)
        if trainer.world_size > 1:
            over = trainer.strategy.reduce_boolean_decision(over, all=False)
        if over:
            trainer.should_stop = True
