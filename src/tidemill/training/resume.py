"""Checkpoints: one file that a run can go on from, exact to the bit.

The file holds tensors and plain values only and is read with `weights_only=True`: no code in it can run.
What an epoch depends on besides (the order of rows, dropout, the learning rate) is a function of seed and epoch
number, so it need not be stored.
"""

import contextlib
import os
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tidemill.errors import TrainingError
from tidemill.models.meaning import Meaning
from tidemill.settings import Objective, TrainingSettings
from tidemill.settings.training import CHECKPOINT
from tidemill.training import checkpoint
from tidemill.training.tensors import Tensors

FORMAT = 1
FREE = (
    *("resume", "progress", "threads", "accelerator", "devices", "compile", "profiler"),  # how to compute, not what
    *("max_epochs", "max_minutes", "patience"),  # when to end
)
"""Settings that a resumed run may have others of."""


@dataclass(kw_only=True, slots=True)
class Checkpoint:
    """A run after its last whole epoch.

    Attributes:
        identity: what the result depends on; a run resumes only if it has the same.
        history: one entry per epoch, see `Record`.
        network, optimizer, precision: state dictionaries after that epoch.
        best: the network's state after the epoch with the lowest validation loss.
        device: description of what it was trained on.
        meaning: what the network's weights belong to.
    """

    identity: dict[str, Any]
    history: list[dict[str, float]]
    network: dict[str, Any]
    optimizer: dict[str, Any]
    precision: dict[str, Any]
    best: dict[str, Any]
    device: str
    meaning: Meaning = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Into `folder`, whole or not at all: the file before it stays until this one is complete.

        Raises:
            TrainingError: it cannot be written.
        """
        path = folder / CHECKPOINT
        unfinished = path.with_suffix(".unfinished")
        buffer = BytesIO()
        torch.save({"format": FORMAT, **{name: getattr(self, name) for name in self.__slots__}}, buffer)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with unfinished.open("wb") as file:
                file.write(buffer.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise TrainingError(
                "A checkpoint must be written after each epoch",
                observed=f"{path}: {error.strerror or error} ({len(buffer.getbuffer()):,} bytes to write)",
                remedy=f"make room or give permission, then go on with training.resume={folder} "
                "(an earlier checkpoint there is intact)",
            ) from error


def read(place: Path, setting: str = "training.resume") -> Checkpoint:
    """The checkpoint in a run's folder, or the checkpoint file itself; `setting` named it.

    Raises:
        TrainingError: there is none, or it cannot be read.
    """
    path = checkpoint(place, setting)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content.pop("format") != FORMAT:
            raise ValueError("another format")
        return Checkpoint(**content)
    except Exception as error:  # torch.load raises many kinds, by where the damage is
        raise TrainingError(
            f"{setting} must name a whole checkpoint that this version wrote",
            observed=f"{path}, {type(error).__name__}: {str(error).partition(chr(10))[0][:120]}",
            remedy=f"name another run's folder, or train anew with {setting}=null",
        ) from error


def identity(
    settings: TrainingSettings, *, seed: int, network: nn.Module, objective: Objective, splits: dict[str, Tensors]
) -> dict[str, Any]:
    """What a run's result depends on, as plain values under the names that a message would use."""
    chosen = {f"training.{name}": value for name, value in asdict(settings).items() if name not in FREE}
    plain = {name: str(value) if isinstance(value, str) else value for name, value in chosen.items()}
    shapes = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    data = {f"the {name} split (rows and fingerprint)": f"{len(s)}, {s.digest()}" for name, s in splits.items()}
    return {**plain, "seed": seed, "objective": str(objective), **data, "shapes": shapes, "network": str(network)}


def check(stored: dict[str, Any], now: dict[str, Any]) -> None:
    """A run may only resume as what it was.

    Raises:
        TrainingError: settings, data or network differ; names the first difference.
    """
    free = {f"training.{name}" for name in FREE}  # earlier versions kept some of them
    for name in sorted({*stored, *now} - free, key=list({**now, **stored}).index):
        before, after = stored.get(name), now.get(name)
        if before == after:
            continue
        if name == "shapes":
            before, after = _first_difference(dict(before or {}), dict(after or {}))
        elif name == "network":
            before, after = _first_difference(_lines(before), _lines(after))
        raise TrainingError(
            "A resumed run must have the settings, data and network it was started with",
            observed=f"{name}: {before} in the checkpoint, {after} now",
            remedy="set it back, or train anew with training.resume=null",
        )


def _lines(text: Any) -> dict[str, str]:
    return {f"line {number}": line.strip() for number, line in enumerate(str(text).splitlines(), 1)}


def _first_difference(before: dict[str, Any], after: dict[str, Any]) -> tuple[str, str]:
    name = next(name for name in {**before, **after} if before.get(name) != after.get(name))
    return f"{name} {before.get(name, 'absent')}", f"{name} {after.get(name, 'absent')}"
