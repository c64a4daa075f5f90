"""From prepared features to what a network's first layer can use.

Shape suffixes: B batch, N numeric features, C categorical features, F width of the flat encoding,
P bins of a piecewise-linear encoding, D dimension of an embedding, T tokens.

Every model starts with one of two modules: `FeatureEncoder` gives one flat vector for each row (B, F),
`FeatureTokens` one vector for each feature (B, T, D).

Numeric features, after Gorishniy et al., "On Embeddings for Numerical Features in Tabular Deep
Learning" (NeurIPS 2022) and, for the start at a linear embedding, "TabM" (ICLR 2025).

Categorical codes 0 (missing) and 1 (rare or unseen) may never occur in training, and then nothing
teaches the network what they mean. So neither starts at random: a learned vector starts at zero for
both; a one-hot is all zeros for missing and the average of the known categories for unseen.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import torch
from rtdl_num_embeddings import LinearEmbeddings, PeriodicEmbeddings
from torch import Tensor, nn

from tidemill.composition import Rule
from tidemill.models.inputs import ModelInputs
from tidemill.settings import AtLeastOne, Positive

MISSING, UNSEEN, FIRST_KNOWN = 0, 1, 2
ROWS_FOR_BINS = 2**18
"""Quantiles of more rows than this are no better, only slower."""


class NumericEmbedding(StrEnum):
    NONE = "none"
    PIECEWISE_LINEAR = "piecewise_linear"
    PERIODIC = "periodic"


@dataclass(kw_only=True, slots=True)
class TokenSettings:
    """How numeric features become vectors."""

    numeric: NumericEmbedding
    bins: Annotated[int, Rule("between 2 and 1,000", lambda value: 2 <= value <= 1000)]
    """numeric=piecewise_linear: quantiles of the training split between which the embedding is linear."""
    frequencies: Annotated[int, AtLeastOne]
    """numeric=periodic: sines and cosines for each feature."""
    frequency_scale: Annotated[float, Positive]
    """numeric=periodic: standard deviation of the frequencies at the start; worth tuning between 0.01 and 1."""


@dataclass(kw_only=True, slots=True)
class EmbeddingSettings(TokenSettings):
    """How features enter a network that takes them side by side."""

    dimension: Annotated[int, AtLeastOne]
    """Of each embedded numeric feature. Columns with only two values are never embedded."""
    one_hot_up_to: Annotated[int, Rule("between 0 and 1,000", lambda value: 0 <= value <= 1000)]
    """Categorical features with at most this many codes are one-hot, others get a learned vector."""
    categorical_dimension: Annotated[int, AtLeastOne]
    """Of the learned vector of a categorical feature."""


class FeatureEncoder(nn.Module):
    """numeric_BN, categorical_BC → flat_BF, the features side by side.

    `widths` has the width of each feature's part, in the order in which the parts stand; their sum is F. The order is:
    numbers as they are, embedded numbers, one-hot and then learned vectors of categories.
    """

    def __init__(self, settings: EmbeddingSettings, inputs: ModelInputs) -> None:
        super().__init__()
        features = inputs.numeric_BN.shape[1]
        embedded = [] if settings.numeric is NumericEmbedding.NONE else _continuous(inputs.numeric_BN)
        plain = sorted({*range(features)} - {*embedded})
        self.plain: Tensor
        self.embedded: Tensor
        self.register_buffer("plain", torch.tensor(plain, dtype=torch.int64))
        self.register_buffer("embedded", torch.tensor(embedded, dtype=torch.int64))
        self.embedding = (
            _numeric_embedding(settings, inputs.numeric_BN[:, embedded], settings.dimension) if embedded else None
        )
        one_hot, learned = _shared_out(settings, inputs.cardinalities)
        counts = inputs.cardinalities
        self.one_hot = OneHot({index: counts[index] for index in one_hot}) if one_hot else None
        self.categorical = (
            CategoryVectors({index: counts[index] for index in learned}, settings.categorical_dimension)
            if learned
            else None
        )
        self.widths = (
            [1] * len(plain)
            + [settings.dimension] * len(embedded)
            + [counts[index] - FIRST_KNOWN for index in one_hot]
            + [settings.categorical_dimension] * len(learned)
        )
        assert sum(self.widths) > 0, "a model needs at least one feature"

    @property
    def width(self) -> int:
        return sum(self.widths)

    def forward(self, numeric_BN: Tensor, categorical_BC: Tensor) -> Tensor:
        parts = []
        if self.embedding is None:
            parts.append(numeric_BN)
        else:
            parts.append(numeric_BN.index_select(1, self.plain))
            parts.append(self.embedding(numeric_BN.index_select(1, self.embedded)).flatten(1))
        if self.one_hot is not None:
            parts.append(self.one_hot(categorical_BC))
        if self.categorical is not None:
            parts.append(self.categorical(categorical_BC).flatten(1))
        return torch.cat(parts, dim=1)


class FeatureTokens(nn.Module):
    """numeric_BN, categorical_BC → tokens_BTD, one token a feature (T = N + C).

    A token is the feature's vector and, for categorical features, a learned bias that says which feature
    it is (the numeric embeddings have one of their own); numeric=none is the linear tokeniser of
    Gorishniy et al. 2021.
    """

    def __init__(self, settings: TokenSettings, inputs: ModelInputs, dimension: int) -> None:
        super().__init__()
        features = inputs.numeric_BN.shape[1]
        assert features + len(inputs.cardinalities) > 0, "a model needs at least one feature"
        self.embedding = _numeric_embedding(settings, inputs.numeric_BN, dimension) if features else None
        counts = dict(enumerate(inputs.cardinalities))
        self.categorical = CategoryVectors(counts, dimension) if counts else None
        self.bias_CD = nn.Parameter(torch.empty(len(counts), dimension)) if counts else None
        if self.bias_CD is not None:
            nn.init.uniform_(self.bias_CD, -(dimension**-0.5), dimension**-0.5)

    def forward(self, numeric_BN: Tensor, categorical_BC: Tensor) -> Tensor:
        parts = [] if self.embedding is None else [self.embedding(numeric_BN)]
        if self.categorical is not None and self.bias_CD is not None:
            parts.append(self.categorical(categorical_BC) + self.bias_CD)
        return torch.cat(parts, dim=1)


class OneHot(nn.Module):
    """categorical_BC → one-hot codes of some features side by side; all features in the same few operations.

    Args:
        cardinalities: of the features that are taken, by their index among the C.
    """

    def __init__(self, cardinalities: dict[int, int]) -> None:
        super().__init__()
        cells = [(index, code, count) for index, count in cardinalities.items() for code in range(FIRST_KNOWN, count)]
        feature, code, count = torch.tensor(cells).T
        self.feature: Tensor
        self.code: Tensor
        self.unseen: Tensor
        self.register_buffer("feature", feature.contiguous())
        self.register_buffer("code", code.contiguous())
        self.register_buffer("unseen", 1 / (count - FIRST_KNOWN))

    def forward(self, categorical_BC: Tensor) -> Tensor:
        codes_BF = categorical_BC.index_select(1, self.feature)
        # Not `one_hot`: that makes integers, which export to a graph that ONNX Runtime refuses.
        return (codes_BF == self.code).float() + (codes_BF == UNSEEN).float() * self.unseen


class CategoryVectors(nn.Embedding):
    """categorical_BC → a learned vector for each of some features, [B, features, D].

    One table with the codes of all features below each other: a table for each would be an operation for each, which
    makes wide tables slow to train and very slow to export.

    Args:
        cardinalities: of the features that are taken, by their index among the C.
    """

    def __init__(self, cardinalities: dict[int, int], dimension: int) -> None:
        counts = torch.tensor(list(cardinalities.values()))
        first = counts.cumsum(0) - counts
        table = torch.empty(int(counts.sum()), dimension)
        nn.init.uniform_(table, -(dimension**-0.5), dimension**-0.5)
        for code in range(FIRST_KNOWN):
            table[first + code] = 0
        super().__init__(table.shape[0], dimension, _weight=table)
        self.feature: Tensor
        self.first: Tensor
        self.register_buffer("feature", torch.tensor(list(cardinalities)))
        self.register_buffer("first", first)

    def forward(self, categorical_BC: Tensor) -> Tensor:
        return super().forward(categorical_BC.index_select(1, self.feature) + self.first)


class PiecewiseLinear(nn.Module):
    """x_BN → embedding_BND: linear in x, plus a learned piecewise-linear part that starts at zero.

    The P components of a feature go from 0 to 1 one after the other, each between two neighbouring edges.
    Two things differ from `rtdl_num_embeddings`: x − edge is taken before the division, which keeps
    float32 exact for narrow bins far from zero, and the outer components end at 0 and 1 as well, so that
    a value outside the training range is extrapolated by the linear part only.
    """

    def __init__(self, numeric_BN: Tensor, bins: int, dimension: int) -> None:
        super().__init__()
        edges = [bin_edges(column, bins) for column in numeric_BN.T]
        most = max(1, *(len(edge) - 1 for edge in edges))
        left_NP, slope_NP = torch.zeros(len(edges), most), torch.zeros(len(edges), most)
        for feature, edge in enumerate(edges):
            left_NP[feature, : len(edge) - 1] = edge[:-1]
            slope_NP[feature, : len(edge) - 1] = 1 / edge.diff()
        self.left_NP: Tensor
        self.slope_NP: Tensor
        self.register_buffer("left_NP", left_NP)
        self.register_buffer("slope_NP", slope_NP)
        self.linear = LinearEmbeddings(len(edges), dimension)
        self.weight_NPD = nn.Parameter(torch.zeros(len(edges), most, dimension))

    def forward(self, x_BN: Tensor) -> Tensor:
        encoding_BNP = ((x_BN[..., None] - self.left_NP) * self.slope_NP).clamp(0, 1)
        piecewise_NBD = encoding_BNP.transpose(0, 1) @ self.weight_NPD
        linear_BND: Tensor = self.linear(x_BN)
        return linear_BND + piecewise_NBD.transpose(0, 1)


def bin_edges(column_B: Tensor, bins: int) -> Tensor:
    """At most bins + 1 values, ascending, between which a column's embedding is linear.

    A column with few values has an edge at each. Otherwise a value that fills a bin by itself (the zeros
    of an amount) gets an edge, and the others are quantiles of the rest: quantiles of all rows would fall
    on the same value again and again, and leave few edges where the column says something.

    A bin narrower than 0.001 standard deviations joins its neighbour, else a rounding error of the input
    would show in the output. A constant column has one edge and so no bin.
    """
    column_B = column_B[:: max(1, len(column_B) // ROWS_FOR_BINS)].double()
    values, counts = torch.unique(column_B, return_counts=True)
    if len(values) > bins + 1:
        fills_a_bin = counts > len(column_B) / bins
        rest = values[~fills_a_bin].repeat_interleave(counts[~fills_a_bin])
        shares = torch.linspace(0, 1, bins + 1 - int(fills_a_bin.sum()), dtype=torch.float64)
        values = torch.cat([values[fills_a_bin], torch.quantile(rest, shares)]).sort().values
    narrowest = 1e-3 * float(column_B.std(correction=0))
    edges = [values[0]]
    for value in values[1:]:
        if value - edges[-1] > narrowest:
            edges.append(value)
    return torch.stack(edges).float()


def _continuous(numeric_BN: Tensor) -> list[int]:
    """Columns with more than two values: an embedding of two values could say no more than a number."""
    lowest_N, highest_N = numeric_BN.amin(dim=0), numeric_BN.amax(dim=0)
    between_N = ((numeric_BN > lowest_N) & (numeric_BN < highest_N)).any(dim=0)
    return [index for index, between in enumerate(between_N.tolist()) if between]


def _numeric_embedding(settings: TokenSettings, numeric_BN: Tensor, dimension: int) -> nn.Module:
    features = numeric_BN.shape[1]
    if settings.numeric is NumericEmbedding.PIECEWISE_LINEAR:
        return PiecewiseLinear(numeric_BN, settings.bins, dimension)
    if settings.numeric is NumericEmbedding.PERIODIC:
        periodic: nn.Module = PeriodicEmbeddings(
            features,
            dimension,
            n_frequencies=settings.frequencies,
            frequency_init_scale=settings.frequency_scale,
            lite=False,
        )
        return periodic
    linear: nn.Module = LinearEmbeddings(features, dimension)
    return linear


def _shared_out(settings: EmbeddingSettings, cardinalities: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """The categorical features that are one-hot, and those that get a learned vector."""
    shared: tuple[list[int], list[int]] = ([], [])
    for index, count in enumerate(cardinalities):
        shared[0 if FIRST_KNOWN < count <= settings.one_hot_up_to else 1].append(index)
    return shared
