"""A residual network for tables: Gorishniy et al., "Revisiting Deep Learning Models for Tabular Data" (NeurIPS 2021).

Layer normalisation stands where the paper has batch normalisation: a row's answer and gradient then
depend on that row alone, so a last batch of one row trains and two devices agree with one.

Shape suffixes: B batch, N numeric features, C categorical features, E ensemble members (one), K outputs.
"""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor, nn

from tidemill.models.embeddings import EmbeddingSettings, FeatureEncoder
from tidemill.models.inputs import ModelInputs
from tidemill.settings import AtLeastOne, Positive, ShareOrNone


@dataclass(kw_only=True, slots=True)
class Settings:
    width: Annotated[int, AtLeastOne]
    """Units of the residual stream."""
    depth: Annotated[int, AtLeastOne]
    """Residual blocks."""
    hidden_factor: Annotated[float, Positive]
    """Units inside a block, as a multiple of the width."""
    dropout: Annotated[float, ShareOrNone]
    """Inside a block, after the activation."""
    residual_dropout: Annotated[float, ShareOrNone]
    """On what a block adds."""
    embedding: EmbeddingSettings


class Block(nn.Module):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        hidden = max(1, int(settings.width * settings.hidden_factor))
        self.layers = nn.Sequential(
            nn.LayerNorm(settings.width),
            nn.Linear(settings.width, hidden),
            nn.ReLU(),
            nn.Dropout(settings.dropout),
            nn.Linear(hidden, settings.width),
            nn.Dropout(settings.residual_dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.layers(x)
        return x + added


class ResNet(nn.Module):
    def __init__(self, settings: Settings, inputs: ModelInputs) -> None:
        super().__init__()
        self.encoder = FeatureEncoder(settings.embedding, inputs)
        self.layers = nn.Sequential(
            nn.Linear(self.encoder.width, settings.width),
            *(Block(settings) for _ in range(settings.depth)),
            nn.LayerNorm(settings.width),
            nn.ReLU(),
            nn.Linear(settings.width, inputs.outputs),
        )

    def forward(self, numeric_BN: Tensor, categorical_BC: Tensor) -> Tensor:
        logits_BK: Tensor = self.layers(self.encoder(numeric_BN, categorical_BC))
        return logits_BK[:, None]


def build(settings: Settings, inputs: ModelInputs) -> nn.Module:
    return ResNet(settings, inputs)
