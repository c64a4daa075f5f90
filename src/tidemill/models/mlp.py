"""A multilayer perceptron: depth × (linear, ReLU, dropout), then a linear output.

Shape suffixes: B batch, N numeric features, C categorical features, E ensemble members (one), K outputs.
"""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor, nn

from tidemill.models.embeddings import EmbeddingSettings, FeatureEncoder
from tidemill.models.inputs import ModelInputs
from tidemill.settings import AtLeastOne, ShareOrNone


@dataclass(kw_only=True, slots=True)
class Settings:
    width: Annotated[int, AtLeastOne]
    """Units of each hidden layer."""
    depth: Annotated[int, AtLeastOne]
    """Hidden layers."""
    dropout: Annotated[float, ShareOrNone]
    embedding: EmbeddingSettings


class MLP(nn.Module):
    def __init__(self, settings: Settings, inputs: ModelInputs) -> None:
        super().__init__()
        self.encoder = FeatureEncoder(settings.embedding, inputs)
        layers: list[nn.Module] = []
        width = self.encoder.width
        for _ in range(settings.depth):
            layers += [nn.Linear(width, settings.width), nn.ReLU(), nn.Dropout(settings.dropout)]
            width = settings.width
        self.layers = nn.Sequential(*layers, nn.Linear(width, inputs.outputs))

    def forward(self, numeric_BN: Tensor, categorical_BC: Tensor) -> Tensor:
        logits_BK: Tensor = self.layers(self.encoder(numeric_BN, categorical_BC))
        return logits_BK[:, None]


def build(settings: Settings, inputs: ModelInputs) -> nn.Module:
    return MLP(settings, inputs)
