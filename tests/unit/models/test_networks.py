"""What single networks promise beyond the contract that all keep."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from tidemill.errors import SettingsError
from tidemill.models import ft_transformer, tabm
from tidemill.models.embeddings import EmbeddingSettings, NumericEmbedding, TokenSettings
from tidemill.models.inputs import ModelInputs

FLAT = EmbeddingSettings(
    numeric=NumericEmbedding.PIECEWISE_LINEAR,
    dimension=4,
    bins=8,
    frequencies=4,
    frequency_scale=0.1,
    one_hot_up_to=10,
    categorical_dimension=3,
)
TOKENS = TokenSettings(numeric=NumericEmbedding.NONE, bins=8, frequencies=4, frequency_scale=0.1)


def _inputs() -> ModelInputs:
    return ModelInputs(numeric_BN=torch.randn(50, 3), cardinalities=(5, 40), outputs=2)


@pytest.mark.parametrize("variant", list(tabm.Variant))
@pytest.mark.parametrize("numeric", list(NumericEmbedding))
def test_every_variant_of_tabm_has_members_that_differ(variant: tabm.Variant, numeric: NumericEmbedding) -> None:
    embedding = replace(FLAT, numeric=numeric)
    settings = tabm.Settings(variant=variant, members=6, width=16, depth=2, dropout=0.0, embedding=embedding)
    logits = tabm.build(settings, _inputs())(torch.randn(9, 3), torch.full((9, 2), 2))
    assert logits.shape == (9, 6, 2)
    assert logits.std(dim=1).min() > 1e-4


def test_a_single_member_is_allowed() -> None:
    settings = tabm.Settings(variant=tabm.Variant.MINI, members=1, width=16, depth=1, dropout=0.0, embedding=FLAT)
    assert tabm.build(settings, _inputs())(torch.randn(9, 3), torch.full((9, 2), 2)).shape == (9, 1, 2)


def _transformer(**changed: Any) -> ft_transformer.Settings:
    values: dict[str, Any] = {
        "width": 16,
        "depth": 2,
        "heads": 4,
        "hidden_factor": 1.5,
        "attention_dropout": 0.0,
        "dropout": 0.0,
        "residual_dropout": 0.0,
        "embedding": TOKENS,
    }
    return ft_transformer.Settings(**{**values, **changed})


@pytest.mark.parametrize(("width", "heads", "remedy"), [(20, 8, "model.width=16"), (5, 8, "model.width=8")])
def test_width_is_a_multiple_of_heads(width: int, heads: int, remedy: str) -> None:
    with pytest.raises(SettingsError) as caught:
        _transformer(width=width, heads=heads)
    assert str(caught.value) == (
        "model.width must be a multiple of model.heads. "
        f"Got: model.width={width}, model.heads={heads}. Remedy: set {remedy}."
    )


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("numeric", list(NumericEmbedding))
def test_transformer_of_any_depth_and_embedding(depth: int, numeric: NumericEmbedding) -> None:
    tokens = replace(TOKENS, numeric=numeric)
    network = ft_transformer.build(_transformer(depth=depth, embedding=tokens), _inputs())
    assert network(torch.randn(9, 3), torch.full((9, 2), 2)).shape == (9, 1, 2)


def test_attention_equals_its_formula() -> None:
    attention = ft_transformer.Attention(_transformer(heads=2)).eval()
    x = torch.randn(3, 5, 16)
    query, key, value = (layer(x) for layer in (attention.query, attention.key, attention.value))
    mixed = []
    for head in (slice(0, 8), slice(8, 16)):
        scores = query[..., head] @ key[..., head].transpose(1, 2) / 8**0.5
        mixed.append(scores.softmax(-1) @ value[..., head])
    torch.testing.assert_close(attention(x, x), attention.mix(torch.cat(mixed, dim=-1)))
