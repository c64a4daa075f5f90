"""What a network's weights belong to: names for the positions along the axes of its tensors.

Preparation is fitted anew for each network, so in the next one categories have other codes, and a first layer's
columns stand elsewhere. By their names, weights can be found again (`tidemill.training.warm`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from tidemill.models.embeddings import FIRST_KNOWN, CategoryVectors, FeatureEncoder, FeatureTokens, OneHot
from tidemill.models.inputs import ModelInputs

_Encoder = FeatureEncoder | FeatureTokens

CATEGORICAL = "categorical"
"""The name of the table of all features' learned vectors."""
Axis = list[str] | None
"""What each position belongs to; None: to nothing outside the network."""
Meaning = dict[str, tuple[str, list[Axis]]]
"""By a tensor's key in the state: a name that is the same wherever its feature stands, and its axes.

What a network does not learn but sets up by its inputs (which columns are embedded, one-hot tables) is not there.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Names:
    """Of numeric features; of each categorical feature's codes; of the outputs K (classes, or the target)."""

    numeric: tuple[str, ...]
    codes: dict[str, list[str]]
    outputs: list[str]


def meaning(network: nn.Module, build: Callable[[ModelInputs], nn.Module], names: Names) -> Meaning:
    """Names for what `build` has made of inputs with these names.

    Which axes of a network run over its encoder's columns, and which over its outputs, is seen from another one that is
    built for one output more and more than one column more. Without a `FeatureEncoder` or `FeatureTokens` in it, a
    network has no names.
    """
    state = network.state_dict()
    found: Meaning = {key: (key, [None] * tensor.dim()) for key, tensor in state.items()}
    encoders = ((place, part) for place, part in network.named_modules() if isinstance(part, _Encoder))
    place, encoder = next(encoders, ("", None))
    if encoder is None:
        return found
    columns = _columns(encoder, names) if isinstance(encoder, FeatureEncoder) else []
    cardinalities = tuple(map(len, names.codes.values()))
    numeric_BN = torch.zeros(2, 2 * len(columns) + len(names.numeric) + 2)
    inputs = ModelInputs(numeric_BN=numeric_BN, cardinalities=cardinalities, outputs=len(names.outputs) + 1)
    with torch.random.fork_rng(devices=[]):
        larger = build(inputs).state_dict()
    for key, tensor in state.items():
        axes: list[Axis] = []
        for size, grown in zip(tensor.shape, larger[key].shape, strict=True) if key in larger else ():
            axes.append(None if grown == size else names.outputs if grown == size + 1 else columns)
        fits = len(axes) == tensor.dim() and all(
            axis is None or len(axis) == size for axis, size in zip(axes, tensor.shape, strict=True)
        )
        if key.startswith(f"{place}.") or not fits:
            del found[key]
        else:
            found[key] = (key, axes)
    return found | _parts(encoder, place, names)


def _parts(encoder: FeatureEncoder | FeatureTokens, place: str, names: Names) -> Meaning:
    """The encoder's own tensors: vectors of categories by code, all others by feature."""
    embedded = range(len(names.numeric)) if isinstance(encoder, FeatureTokens) else encoder.embedded.tolist()
    features: Axis = [names.numeric[index] for index in embedded]
    found: Meaning = {}
    for key, tensor in encoder.embedding.state_dict().items() if encoder.embedding is not None else ():
        found[f"{place}.embedding.{key}"] = (f"embedding.{key}", [features] + [None] * (tensor.dim() - 1))
    if encoder.categorical is not None:
        rows = [f"{feature}\0{code}" for feature, codes in _codes(encoder.categorical, names) for code in codes]
        found[f"{place}.categorical.weight"] = (CATEGORICAL, [rows, None])
    if isinstance(encoder, FeatureTokens) and encoder.bias_CD is not None:
        found[f"{place}.bias_CD"] = ("bias_CD", [list(names.codes), None])
    return found


def _columns(encoder: FeatureEncoder, names: Names) -> list[str]:
    """Names for the encoder's flat columns F, in order."""
    plain, embedded = encoder.plain.tolist(), encoder.embedded.tolist()
    found = [names.numeric[index] for index in plain]
    for index, width in zip(embedded, encoder.widths[len(plain) :], strict=False):
        found += [f"{names.numeric[index]}\0{column}" for column in range(width)]
    if encoder.one_hot is not None:
        found += [
            f"{feature}\0{code}" for feature, codes in _codes(encoder.one_hot, names) for code in codes[FIRST_KNOWN:]
        ]
    if encoder.categorical is not None:
        columns = range(encoder.categorical.embedding_dim)
        found += [f"{feature}\0{column}" for feature, _ in _codes(encoder.categorical, names) for column in columns]
    return found


def _codes(part: OneHot | CategoryVectors, names: Names) -> list[tuple[str, list[str]]]:
    """The features that a part takes, in its order, with the names of their codes."""
    features = list(names.codes.items())
    return [features[index] for index in dict.fromkeys(part.feature.tolist())]
