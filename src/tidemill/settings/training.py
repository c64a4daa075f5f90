"""The groups `model` and `training`: which network, and how it is trained."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from tidemill.settings.rules import AtLeastOne, NotNegative, Positive

CHECKPOINT = Path("checkpoints") / "last.ckpt"
"""Inside a run's folder; written whole after each epoch."""


class Accelerator(StrEnum):
    AUTO = "auto"
    CPU = "cpu"
    GPU = "gpu"


class Precision(StrEnum):
    """`auto` is 32-bit on a CPU and bfloat16 mixed on a GPU that has it."""

    AUTO = "auto"
    FULL = "32-true"
    BF16 = "bf16-mixed"
    FP16 = "16-mixed"


class Profiler(StrEnum):
    """`simple` times the stages of an epoch; `advanced` times every Python function in each of them (cProfile)."""

    NONE = "none"
    SIMPLE = "simple"
    ADVANCED = "advanced"


class ClassWeights(StrEnum):
    NONE = "none"
    BALANCED = "balanced"


@dataclass(kw_only=True, slots=True)
class ModelSettings:
    """`name` finds the module; the other keys are checked against that module's own `Settings`."""

    name: str
    parameters: Any
    """An instance of `tidemill.models.<name>.Settings`."""


@dataclass(kw_only=True, slots=True)
class TrainingSettings:
    max_epochs: Annotated[int, AtLeastOne]
    max_minutes: Annotated[float, Positive] | None
    """Training ends after so many minutes, with the best so far, which is evaluated as usual; null: no limit. What a
    resumed run had spent in its epochs counts; reading, evaluating and exporting do not."""
    batch_size: Annotated[int, AtLeastOne] | None
    """Rows per optimiser step over all devices together; null takes 64 to 1,024 by the size of the training split."""
    learning_rate: Annotated[float, Positive]
    weight_decay: Annotated[float, NotNegative]
    warmup_epochs: Annotated[float, NotNegative]
    """The learning rate rises linearly over this many epochs …"""
    cosine: bool
    """… and then falls along a cosine to zero at max_epochs; false keeps it constant."""
    gradient_clip: Annotated[float, Positive] | None
    """Largest norm of the gradient; null does not clip."""
    patience: Annotated[int, AtLeastOne]
    """Stop after this many epochs without a better validation loss."""
    class_weights: ClassWeights
    accelerator: Accelerator
    devices: Annotated[int, AtLeastOne]
    precision: Precision
    compile: bool
    """Compile the model with torch.compile."""
    threads: Annotated[int, AtLeastOne] | None
    """CPU threads for torch; null leaves torch's choice."""
    progress: bool
    resume: str | None
    """A run's folder (or its checkpoint): go on where that run stopped. `max_epochs`, `max_minutes` and `patience` may
    be others than before; with other `max_epochs` the learning rate goes on along their schedule."""
    warm_start: str | None
    """A run's folder (or its checkpoint): begin from that network's weights, as far as they mean the same. Of a run
    that is resumed, nothing is begun."""
    overfit_batches: Annotated[int, AtLeastOne] | None
    """Train on this many batches of the training split only, its first rows, and validate on the same: a network whose
    loss does not come close to zero there cannot learn. null: all rows."""
    profiler: Profiler
    """What times the training; the figures are written to `profile/` in the run's folder."""
