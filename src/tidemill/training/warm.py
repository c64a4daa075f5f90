"""Warm start: begin from an earlier network's weights, as far as they still mean the same.

Taken by name are vectors of categories, numeric embeddings together with their bins, the columns of a first layer,
and outputs; by their shape, tensors that have no names. What cannot be found stays as it was drawn.
"""

import logging
from pathlib import Path

import torch

from tidemill.data.target import Target
from tidemill.errors import TrainingError
from tidemill.models.meaning import CATEGORICAL, Axis, Meaning, Names
from tidemill.preparation.run import Preparation
from tidemill.training import resume

LOG = logging.getLogger(__name__)
SETTING = "training.warm_start"


def names(preparation: Preparation, target: Target) -> Names:
    """Of what a network gets from this preparation and gives for this target."""
    codes = zip(preparation.categorical_names, preparation.vocabularies, strict=True)
    return Names(
        numeric=preparation.numeric_names,
        codes={name: ["missing", "unseen", *(f"={category}" for category in known)] for name, known in codes},
        outputs=list(target.classes[-target.outputs :]) or [target.name],
    )


def start(network: torch.nn.Module, now: Meaning, place: Path) -> None:
    """Take over, in place, what the best network of the run in `place` has in common with this one.

    Raises:
        TrainingError: there is no such run, or it does not say what its weights belong to.
    """
    before = resume.read(place, SETTING)
    if not before.meaning:
        raise TrainingError(
            f"{SETTING} must name a run that says what its weights belong to",
            observed=f"{place}, made by an earlier version",
            remedy=f"set {SETTING}=null this time; it can name the run that this makes",
        )
    stored = _joined({name: (before.best[key], axes) for key, (name, axes) in before.meaning.items()})
    learned = {key for key, parameter in network.named_parameters() if parameter.requires_grad}
    taken = total = 0
    for key, tensor in network.state_dict().items():
        name, axes = now.get(key, ("", []))
        count = _take(tensor, axes, *stored[name]) if name in stored else 0
        if key in learned:
            taken, total = taken + count, total + tensor.numel()
    LOG.info("Warm start from %s: %s of %s parameters taken", place, f"{taken:,}", f"{total:,}")


def _joined(stored: dict[str, tuple[torch.Tensor, list[Axis]]]) -> dict[str, tuple[torch.Tensor, list[Axis]]]:
    """Earlier versions kept a table of categories for each feature; networks now have one for all of them."""
    own = [name for name in stored if name.startswith(f"{CATEGORICAL}.")]
    if not own:
        return stored
    rows = [f"{name.removeprefix(f'{CATEGORICAL}.')}\0{code}" for name in own for code in stored[name][1][0] or ()]
    return stored | {CATEGORICAL: (torch.cat([stored[name][0] for name in own]), [rows, None])}


def _take(tensor: torch.Tensor, axes: list[Axis], source: torch.Tensor, stored: list[Axis]) -> int:
    """Copy what both have; returns how many values. Axes without names must be of the same size."""
    if tensor.dim() != source.dim():
        return 0
    count = 1
    into, out_of = [], []
    for dim, (axis, other) in enumerate(zip(axes, stored, strict=True)):
        if (axis is None or other is None) and tensor.shape[dim] != source.shape[dim]:
            return 0
        here = {name: index for index, name in enumerate(axis or map(str, range(tensor.shape[dim])))}
        there = {name: index for index, name in enumerate(other or map(str, range(source.shape[dim])))}
        common = [name for name in here if name in there]
        shape = [-1 if other == dim else 1 for other in range(tensor.dim())]
        into.append(torch.tensor([here[name] for name in common], dtype=torch.int64).view(shape))
        out_of.append(torch.tensor([there[name] for name in common], dtype=torch.int64).view(shape))
        count *= len(common)
    if count:
        tensor[tuple(into)] = source[tuple(out_of)].to(tensor.dtype)
    return count
