"""FT-Transformer: attention between features, one token each, read out at an extra token.

Gorishniy et al., "Revisiting Deep Learning Models for Tabular Data" (NeurIPS 2021): pre-norm without
the very first norm, ReGLU in the feed-forward part, and in the last block only the read-out token asks.

Shape suffixes: B batch, N numeric features, C categorical features, T tokens, D width, H heads,
E ensemble members (one), K outputs.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from tidemill.errors import SettingsError
from tidemill.models.embeddings import FeatureTokens, TokenSettings
from tidemill.models.inputs import ModelInputs
from tidemill.settings import AtLeastOne, Positive, ShareOrNone


@dataclass(kw_only=True, slots=True)
class Settings:
    width: Annotated[int, AtLeastOne]
    """Of a token."""
    depth: Annotated[int, AtLeastOne]
    """Blocks of attention and feed-forward."""
    heads: Annotated[int, AtLeastOne]
    """Of attention; the width is a multiple of it."""
    hidden_factor: Annotated[float, Positive]
    """Units of the feed-forward part, as a multiple of the width."""
    attention_dropout: Annotated[float, ShareOrNone]
    dropout: Annotated[float, ShareOrNone]
    """In the feed-forward part, after the activation."""
    residual_dropout: Annotated[float, ShareOrNone]
    """On what a block adds."""
    embedding: TokenSettings

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise SettingsError(
                "model.width must be a multiple of model.heads",
                observed=f"model.width={self.width}, model.heads={self.heads}",
                remedy=f"set model.width={self.width - self.width % self.heads or self.heads}",
            )


class Attention(nn.Module):
    """asking_BTD, answering_BTD → BTD, by scaled dot products in H heads."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.heads = settings.heads
        self.dropout = settings.attention_dropout
        self.query, self.key, self.value, self.mix = (nn.Linear(settings.width, settings.width) for _ in range(4))
        for layer in (self.query, self.key, self.value, self.mix):
            nn.init.zeros_(layer.bias)

    def forward(self, asking_BTD: Tensor, answering_BTD: Tensor) -> Tensor:
        mixed_BHTD = functional.scaled_dot_product_attention(
            self._split(self.query(asking_BTD)),
            self._split(self.key(answering_BTD)),
            self._split(self.value(answering_BTD)),
            dropout_p=self.dropout if self.training else 0.0,
        )
        answer_BTD: Tensor = self.mix(mixed_BHTD.transpose(1, 2).flatten(2))
        return answer_BTD

    def _split(self, x_BTD: Tensor) -> Tensor:
        rows, tokens, width = x_BTD.shape
        return x_BTD.reshape(rows, tokens, self.heads, width // self.heads).transpose(1, 2)


class FeedForward(nn.Module):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        hidden = max(1, int(settings.width * settings.hidden_factor))
        self.into = nn.Linear(settings.width, 2 * hidden)
        self.dropout = nn.Dropout(settings.dropout)
        self.out = nn.Linear(hidden, settings.width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        value, gate = self.into(x_BTD).chunk(2, dim=-1)
        out_BTD: Tensor = self.out(self.dropout(value * functional.relu(gate)))
        return out_BTD


class Block(nn.Module):
    def __init__(self, settings: Settings, *, first: bool, last: bool) -> None:
        super().__init__()
        self.last = last
        self.attention_norm = nn.Identity() if first else nn.LayerNorm(settings.width)
        self.attention = Attention(settings)
        self.forward_norm = nn.LayerNorm(settings.width)
        self.feed_forward = FeedForward(settings)
        self.dropout = nn.Dropout(settings.residual_dropout)

    def forward(self, x_BTD: Tensor) -> Tensor:
        normed_BTD = self.attention_norm(x_BTD)
        if self.last:
            x_BTD, asking_BTD = x_BTD[:, :1], normed_BTD[:, :1]
        else:
            asking_BTD = normed_BTD
        x_BTD = x_BTD + self.dropout(self.attention(asking_BTD, normed_BTD))
        added_BTD: Tensor = self.dropout(self.feed_forward(self.forward_norm(x_BTD)))
        return x_BTD + added_BTD


class FTTransformer(nn.Module):
    def __init__(self, settings: Settings, inputs: ModelInputs) -> None:
        super().__init__()
        self.tokens = FeatureTokens(settings.embedding, inputs, settings.width)
        self.read_out_D = nn.Parameter(torch.empty(settings.width).uniform_(-1, 1) * settings.width**-0.5)
        self.blocks = nn.Sequential(
            *(Block(settings, first=index == 0, last=index == settings.depth - 1) for index in range(settings.depth))
        )
        self.output = nn.Sequential(nn.LayerNorm(settings.width), nn.ReLU(), nn.Linear(settings.width, inputs.outputs))

    def forward(self, numeric_BN: Tensor, categorical_BC: Tensor) -> Tensor:
        tokens_BTD = self.tokens(numeric_BN, categorical_BC)
        read_out_B1D = self.read_out_D.expand(tokens_BTD.shape[0], 1, -1)
        x_B1D = self.blocks(torch.cat([read_out_B1D, tokens_BTD], dim=1))
        logits_B1K: Tensor = self.output(x_B1D)
        return logits_B1K


def build(settings: Settings, inputs: ModelInputs) -> nn.Module:
    return FTTransformer(settings, inputs)
