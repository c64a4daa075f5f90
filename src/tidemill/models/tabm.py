"""TabM: many perceptrons that share most of their weights and answer together.

Gorishniy et al., "TabM: Advancing Tabular Deep Learning with Parameter-Efficient Ensembling" (ICLR
2025); the backbone is the authors' package. TabM-mini with piecewise-linear embeddings is the best of
the published variants.

Shape suffixes: B batch, N numeric features, C categorical features, E ensemble members, K outputs.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from tabm import LinearEnsemble, make_tabm_backbone
from torch import Tensor, nn

from tidemill.models.embeddings import EmbeddingSettings, FeatureEncoder, NumericEmbedding
from tidemill.models.inputs import ModelInputs
from tidemill.settings import AtLeastOne, ShareOrNone


class Variant(StrEnum):
    """What each member has of its own, besides its output layer."""

    MINI = "tabm-mini"
    """A scale for each feature at the entrance."""
    FULL = "tabm"
    """Scales around every layer (BatchEnsemble)."""
    PACKED = "tabm-packed"
    """Everything: a plain ensemble, trained as one."""


@dataclass(kw_only=True, slots=True)
class Settings:
    variant: Variant
    members: Annotated[int, AtLeastOne]
    width: Annotated[int, AtLeastOne]
    """Units of each hidden layer."""
    depth: Annotated[int, AtLeastOne]
    """Hidden layers."""
    dropout: Annotated[float, ShareOrNone]
    embedding: EmbeddingSettings


class TabM(nn.Module):
    def __init__(self, settings: Settings, inputs: ModelInputs) -> None:
        super().__init__()
        self.members = settings.members
        self.encoder = FeatureEncoder(settings.embedding, inputs)
        packed = settings.variant is Variant.PACKED
        embedded = settings.embedding.numeric is not NumericEmbedding.NONE
        self.backbone = make_tabm_backbone(
            d_in=self.encoder.width,
            n_blocks=settings.depth,
            d_block=settings.width,
            dropout=settings.dropout,
            k=settings.members,
            arch_type=settings.variant.value,
            # The authors' choices; one random scale for all components of a feature.
            start_scaling_init=None if packed else "normal" if embedded else "random-signs",
            start_scaling_init_chunks=None if packed else self.encoder.widths,
        )
        self.output = LinearEnsemble(settings.width, inputs.outputs, k=settings.members)

    def forward(self, numeric_BN: Tensor, categorical_BC: Tensor) -> Tensor:
        flat_BF = self.encoder(numeric_BN, categorical_BC)
        logits_BEK: Tensor = self.output(self.backbone(flat_BF[:, None].expand(-1, self.members, -1)))
        return logits_BEK


def build(settings: Settings, inputs: ModelInputs) -> nn.Module:
    return TabM(settings, inputs)
