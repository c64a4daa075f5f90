"""From a network's logits to its loss, and to the answers that an exported graph gives.

Shape suffixes: B batch, N numeric features, C categorical features, E ensemble members, K outputs,
L classes (2 for binary, where K = 1; otherwise K).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from tidemill.settings import Objective


def loss(
    logits_BEK: Tensor,
    target_B: Tensor,
    objective: Objective,
    *,
    weight_B: Tensor | None = None,
) -> Tensor:
    """Mean loss over rows, each member's own: members that agreed to share an error would not differ.

    Log loss for classification, squared error for regression. With weights, the weighted mean.

    Args:
        target_B: class index (int64), or the standardised value (float32).
        weight_B: weight of each row, 0 or greater.
    """
    members_BE = _MEMBER_LOSS[objective](logits_BEK.float(), target_B)
    rows_B = members_BE.mean(dim=1)
    if weight_B is None:
        return rows_B.mean()
    tiny = torch.finfo(rows_B.dtype).tiny  # a batch may hold no weight at all
    return (rows_B * weight_B).sum() / weight_B.sum().clamp_min(tiny)


def pool(logits_BEK: Tensor, objective: Objective) -> Tensor:
    """The members' joint answer, logits_BK: logits of the mean probability; for regression the mean.

    Computed from logarithms, so that members as sure as float32 allows neither overflow nor round to 0.
    A single member's logits come out as they are.
    """
    if logits_BEK.shape[1] == 1:
        return logits_BEK[:, 0]
    if objective is Objective.REGRESSION:
        return logits_BEK.mean(dim=1)
    if objective is Objective.BINARY:
        positive = torch.logsumexp(-functional.softplus(-logits_BEK), dim=1)
        negative = torch.logsumexp(-functional.softplus(logits_BEK), dim=1)
        return positive - negative
    log_BEK = functional.log_softmax(logits_BEK, dim=2)
    return torch.logsumexp(log_BEK, dim=1) - math.log(logits_BEK.shape[1])


class Answering(nn.Module):
    """Network, pooling and calibration in one module: what is exported.

    forward(numeric_BN, categorical_BC) gives, in float32:

    - binary, multiclass: probabilities_BL; softmax of the pooled logits over `temperature`;
    - regression: value_B, lower_B, upper_B in the target's own units, value ± `half_width`.

    Args:
        temperature: fitted on validation; 1 leaves the probabilities as they are.
        half_width: of the conformal interval, in the target's units.
        mean, scale: of the target on the training split; the network predicts (target − mean) / scale.
    """

    def __init__(
        self,
        network: nn.Module,
        objective: Objective,
        *,
        temperature: float = 1.0,
        half_width: float = 0.0,
        mean: float = 0.0,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        assert objective is not Objective.AUTO, "the objective is decided when the target is read"
        self.network = network
        self.objective = objective
        self.temperature = temperature
        self.half_width = half_width
        self.mean = mean
        self.scale = scale

    def forward(self, numeric_BN: Tensor, categorical_BC: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        logits_BEK = self.network(numeric_BN, categorical_BC).float()
        pooled_BK = pool(logits_BEK, self.objective)
        if self.objective is Objective.REGRESSION:
            value_B = pooled_BK[:, 0] * self.scale + self.mean
            return value_B, value_B - self.half_width, value_B + self.half_width
        scaled_BK = pooled_BK / self.temperature
        if self.objective is Objective.BINARY:
            return torch.sigmoid(torch.cat([-scaled_BK, scaled_BK], dim=1))
        return torch.softmax(scaled_BK, dim=1)


def _binary(logits_BEK: Tensor, target_B: Tensor) -> Tensor:
    logits_BE = logits_BEK[:, :, 0]
    target_BE = target_B.to(logits_BE.dtype)[:, None].expand_as(logits_BE)
    return functional.binary_cross_entropy_with_logits(logits_BE, target_BE, reduction="none")


def _multiclass(logits_BEK: Tensor, target_B: Tensor) -> Tensor:
    target_BE = target_B[:, None].expand(-1, logits_BEK.shape[1])
    return functional.cross_entropy(logits_BEK.transpose(1, 2), target_BE, reduction="none")


def _regression(logits_BEK: Tensor, target_B: Tensor) -> Tensor:
    return (logits_BEK[:, :, 0] - target_B.to(logits_BEK.dtype)[:, None]).square()


_MEMBER_LOSS: dict[Objective, Callable[[Tensor, Tensor], Tensor]] = {
    Objective.BINARY: _binary,
    Objective.MULTICLASS: _multiclass,
    Objective.REGRESSION: _regression,
}
