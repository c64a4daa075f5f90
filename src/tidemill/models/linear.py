"""A linear model: one weight for each number and each category; additive with piecewise-linear embeddings.

Shape suffixes: B batch, N numeric features, C categorical features, E ensemble members (one), K outputs.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from tidemill.models.embeddings import EmbeddingSettings, FeatureEncoder
from tidemill.models.inputs import ModelInputs


@dataclass(kw_only=True, slots=True)
class Settings:
    embedding: EmbeddingSettings


class Linear(nn.Module):
    def __init__(self, settings: Settings, inputs: ModelInputs) -> None:
        super().__init__()
        self.encoder = FeatureEncoder(settings.embedding, inputs)
        self.output = nn.Linear(self.encoder.width, inputs.outputs)

    def forward(self, numeric_BN: Tensor, categorical_BC: Tensor) -> Tensor:
        logits_BK: Tensor = self.output(self.encoder(numeric_BN, categorical_BC))
        return logits_BK[:, None]


def build(settings: Settings, inputs: ModelInputs) -> nn.Module:
    return Linear(settings, inputs)
