import pytest
import torch

from tidemill.models.embeddings import (
    MISSING,
    UNSEEN,
    EmbeddingSettings,
    FeatureEncoder,
    FeatureTokens,
    NumericEmbedding,
    PiecewiseLinear,
    bin_edges,
)
from tidemill.models.inputs import ModelInputs


def _settings(numeric: str = "piecewise_linear", one_hot_up_to: int = 10) -> EmbeddingSettings:
    return EmbeddingSettings(
        numeric=NumericEmbedding(numeric),
        dimension=6,
        bins=8,
        frequencies=4,
        frequency_scale=0.1,
        one_hot_up_to=one_hot_up_to,
        categorical_dimension=3,
    )


def _inputs(numeric_BN: torch.Tensor, *cardinalities: int) -> ModelInputs:
    return ModelInputs(numeric_BN=numeric_BN, cardinalities=cardinalities, outputs=1)


def _codes(*rows: list[int]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.int64)


NO_CODES = torch.zeros(100, 0, dtype=torch.int64)


@pytest.mark.parametrize("numeric", list(NumericEmbedding))
def test_flat_width_is_the_sum_of_the_parts(numeric: str) -> None:
    numeric_BN = torch.randn(100, 3)
    numeric_BN[:, 1] = (numeric_BN[:, 1] > 0).float()
    encoder = FeatureEncoder(_settings(numeric), _inputs(numeric_BN, 4, 50))
    parts = [1, 1, 1, 2, 3] if numeric == "none" else [1, 6, 6, 2, 3]
    assert encoder.widths == parts
    assert encoder(numeric_BN[:7], _codes(*[[0, 1]] * 7)).shape == (7, sum(parts)) == (7, encoder.width)


def test_columns_of_two_values_stay_numbers() -> None:
    numeric_BN = torch.randn(100, 3)
    numeric_BN[:, 0] = 7
    numeric_BN[:, 2] = (numeric_BN[:, 2] > 0).float()
    flat = FeatureEncoder(_settings(), _inputs(numeric_BN))(numeric_BN, NO_CODES)
    assert torch.equal(flat[:, :2], numeric_BN[:, [0, 2]])


def test_one_hot_is_neutral_for_missing_and_average_for_unseen() -> None:
    encoder = FeatureEncoder(_settings(), _inputs(torch.zeros(4, 0), 6))
    flat = encoder(torch.zeros(4, 0), _codes([MISSING], [UNSEEN], [2], [5]))
    assert flat.tolist() == [[0, 0, 0, 0], [0.25, 0.25, 0.25, 0.25], [1, 0, 0, 0], [0, 0, 0, 1]]
    assert not [name for name, parameter in encoder.named_parameters() if parameter.requires_grad]


def test_learned_vectors_of_missing_and_unseen_start_at_zero_and_learn() -> None:
    encoder = FeatureEncoder(_settings(one_hot_up_to=0), _inputs(torch.zeros(3, 0), 6))
    flat = encoder(torch.zeros(3, 0), _codes([MISSING], [UNSEEN], [2]))
    assert not flat[:2].any()
    assert flat[2].all()
    (flat - 1).square().sum().backward()
    gradient = encoder.categorical.weight.grad
    assert gradient is not None
    assert gradient[:3].all()


def test_a_category_without_vocabulary_still_counts_as_a_feature() -> None:
    encoder = FeatureEncoder(_settings(), _inputs(torch.zeros(2, 0), 2))
    assert encoder(torch.zeros(2, 0), _codes([0], [1])).shape == (2, 3)


def test_no_features_at_all_is_a_fault_of_ours() -> None:
    with pytest.raises(AssertionError, match="at least one feature"):
        FeatureEncoder(_settings(), _inputs(torch.zeros(5, 0)))
    with pytest.raises(AssertionError, match="at least one feature"):
        FeatureTokens(_settings(), _inputs(torch.zeros(5, 0)), 4)


@pytest.mark.parametrize("numeric", list(NumericEmbedding))
def test_tokens_are_one_vector_a_feature(numeric: str) -> None:
    numeric_BN = torch.randn(100, 3)
    numeric_BN[:, 1] = 1
    tokens = FeatureTokens(_settings(numeric), _inputs(numeric_BN, 4, 50), 8)
    assert tokens(numeric_BN[:5], _codes(*[[3, 49]] * 5)).shape == (5, 5, 8)


def test_edges_are_quantiles_that_ascend() -> None:
    edges = bin_edges(torch.arange(101, dtype=torch.float32), 4)
    assert edges.tolist() == [0, 25, 50, 75, 100]


def test_a_column_of_few_values_has_an_edge_at_each() -> None:
    column = torch.cat([torch.zeros(90), torch.arange(1, 11)]).float()
    assert bin_edges(column, 10).tolist() == list(range(11))


def test_a_value_that_fills_a_bin_leaves_the_other_edges_to_the_rest() -> None:
    column = torch.cat([torch.zeros(900), torch.linspace(10, 20, 101)])
    assert bin_edges(column, 11).tolist() == [0, *range(10, 21)]


@pytest.mark.parametrize("column", [torch.full((9,), 5.0), torch.tensor([5.0])])
def test_a_constant_column_has_no_bin(column: torch.Tensor) -> None:
    assert bin_edges(column, 4).tolist() == [5]
    embedding = PiecewiseLinear(column[:, None], 4, 3)
    assert embedding(torch.tensor([[5.0], [-1e30]])).isfinite().all()


def test_edges_keep_a_distance_that_rounding_cannot_cross() -> None:
    column = torch.cat([torch.full((50,), 1.0), torch.full((50,), 1.0 + 1e-6), torch.linspace(0, 9, 50)])
    assert float(bin_edges(column, 16).diff().min()) > 1e-3


def test_many_rows_are_thinned() -> None:
    edges = bin_edges(torch.arange(2**20, dtype=torch.float32), 2)
    assert edges.tolist() == pytest.approx([0, 2**19, 2**20], abs=8)


def test_the_piecewise_part_is_exact_far_from_zero() -> None:
    """x·slope + bias, as usually written, loses three digits here."""
    column = torch.linspace(1000, 1001, 4097)
    embedding = PiecewiseLinear(column[:, None], 16, 1)
    with torch.no_grad():
        embedding.linear.weight.zero_()
        embedding.linear.bias.zero_()
        embedding.weight_NPD.fill_(1)
    wanted = (column.double() - 1000) * 16
    torch.testing.assert_close(embedding(column[:, None]).flatten().double(), wanted, rtol=0, atol=1e-5)


def test_outside_the_training_range_only_the_linear_part_goes_on() -> None:
    embedding = PiecewiseLinear(torch.linspace(0, 1, 100)[:, None], 8, 2)
    torch.nn.init.normal_(embedding.weight_NPD)
    at = embedding(torch.tensor([[1.0], [2.0], [3.0], [0.0], [-1.0]]))[:, 0]
    slope = embedding.linear.weight[0]
    torch.testing.assert_close(at[1] - at[0], slope)
    torch.testing.assert_close(at[2] - at[1], slope)
    torch.testing.assert_close(at[3] - at[4], slope)
