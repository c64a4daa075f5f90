"""A model of one's own: a network with one hidden layer, beside the linear model that it corrects.

    python train.py --config-dir examples/extending/conf +experiment=table model=corrected data.path=… data.target=…

Shape suffixes: B batch, N numeric features, C categorical features, E ensemble members (one), K outputs.
"""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor, nn

from tidemill.models.embeddings import EmbeddingSettings, FeatureEncoder
from tidemill.models.inputs import ModelInputs
from tidemill.settings import AtLeastOne


@dataclass(kw_only=True, slots=True)
class Settings:
    width: Annotated[int, AtLeastOne]
    """Units of the hidden layer."""
    embedding: EmbeddingSettings


class Corrected(nn.Module):
    def __init__(self, settings: Settings, inputs: ModelInputs) -> None:
        super().__init__()
        self.encoder = FeatureEncoder(settings.embedding, inputs)
        self.linear = nn.Linear(self.encoder.width, inputs.outputs)
        self.correction = nn.Sequential(
            nn.Linear(self.encoder.width, settings.width), nn.ReLU(), nn.Linear(settings.width, inputs.outputs)
        )

    def forward(self, numeric_BN: Tensor, categorical_BC: Tensor) -> Tensor:
        encoded = self.encoder(numeric_BN, categorical_BC)
        logits_BK: Tensor = self.linear(encoded) + self.correction(encoded)
        return logits_BK[:, None]  # one ensemble member


def build(settings: Settings, inputs: ModelInputs) -> nn.Module:
    return Corrected(settings, inputs)
