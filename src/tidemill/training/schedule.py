"""The learning rate as a function of the step: nothing to store, so nothing to restore."""

import math

from tidemill.settings import TrainingSettings


def rate(step: int, steps_per_epoch: int, settings: TrainingSettings) -> float:
    """Learning rate of optimiser step `step` (from 0).

    Rises linearly over `warmup_epochs` (the first step already moves, the last one of the warm-up has the full
    rate), then falls along half a cosine that would reach zero one step after the last one, or stays constant.
    """
    total = settings.max_epochs * steps_per_epoch
    warmup = min(round(settings.warmup_epochs * steps_per_epoch), total)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    if not settings.cosine:
        return settings.learning_rate
    progress = (step - warmup) / max(total - warmup, 1)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
