import math

import pytest
import torch
from torch import nn

from tidemill.models.heads import Answering, loss, pool
from tidemill.settings import Objective


class Fixed(nn.Module):
    """A network whose logits are given."""

    def __init__(self, logits_BEK: torch.Tensor) -> None:
        super().__init__()
        self.logits_BEK = logits_BEK

    def forward(self, numeric_BN: torch.Tensor, categorical_BC: torch.Tensor) -> torch.Tensor:
        return self.logits_BEK


def _answers(logits_BEK: torch.Tensor, objective: Objective, **calibration: float) -> torch.Tensor:
    answer = Answering(Fixed(logits_BEK), objective, **calibration)(torch.zeros(0), torch.zeros(0))
    return torch.stack(answer) if isinstance(answer, tuple) else answer


def test_members_have_their_own_losses() -> None:
    """Two members that err to both sides: their mean is right, they are not."""
    logits = torch.tensor([[[1.0], [-1.0]]])
    assert loss(logits, torch.tensor([0.0]), Objective.REGRESSION) == 1
    assert pool(logits, Objective.REGRESSION) == 0


def test_binary_loss_is_the_mean_log_loss() -> None:
    logits = torch.tensor([[[2.0], [0.0]], [[-1.0], [3.0]]])
    target = torch.tensor([1, 0])
    wanted = sum(math.log1p(math.exp(z)) for z in (-2, 0, -1, 3)) / 4
    assert float(loss(logits, target, Objective.BINARY)) == pytest.approx(wanted)


def test_multiclass_loss_is_the_mean_log_loss() -> None:
    logits = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([0, 1, 2, 3, 0])
    wanted = -logits.log_softmax(2)[torch.arange(5), :, target].mean()
    torch.testing.assert_close(loss(logits, target, Objective.MULTICLASS), wanted)


@pytest.mark.parametrize("objective", [Objective.BINARY, Objective.MULTICLASS])
def test_the_loss_with_weights_is_the_weighted_mean(objective: Objective) -> None:
    logits = torch.randn(4, 2, 1 if objective is Objective.BINARY else 2)
    target = torch.tensor([0, 1, 1, 0])
    rows = torch.stack([loss(logits[i : i + 1], target[i : i + 1], objective) for i in range(4)])
    weight = torch.tensor([1.0, 2.0, 0.0, 3.0])
    torch.testing.assert_close(loss(logits, target, objective, weight_B=weight), (rows * weight).sum() / 6)


def test_weights_do_for_regression_too() -> None:
    logits = torch.tensor([[[0.0]], [[0.0]]])
    assert loss(logits, torch.tensor([1.0, 3.0]), Objective.REGRESSION, weight_B=torch.tensor([3.0, 1.0])) == 3


def test_a_batch_without_weight_has_no_loss_and_no_gradient() -> None:
    logits = torch.ones(2, 1, 1, requires_grad=True)
    value = loss(logits, torch.tensor([0, 1]), Objective.BINARY, weight_B=torch.zeros(2))
    value.backward()
    assert value == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_half_precision_logits_give_a_full_precision_loss() -> None:
    logits = torch.full((3, 2, 1), 0.1, dtype=torch.bfloat16)
    assert loss(logits, torch.tensor([0, 1, 1]), Objective.BINARY).dtype == torch.float32


def test_pooled_binary_logits_are_of_the_mean_probability() -> None:
    logits = torch.randn(50, 8, 1) * 3
    wanted = logits.double().sigmoid().mean(dim=1).logit()
    torch.testing.assert_close(pool(logits, Objective.BINARY).double(), wanted, rtol=1e-5, atol=1e-5)


def test_pooled_multiclass_logits_are_of_the_mean_probability() -> None:
    logits = torch.randn(50, 8, 5) * 3
    wanted = logits.double().softmax(2).mean(dim=1).log()
    torch.testing.assert_close(pool(logits, Objective.MULTICLASS).double(), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("objective", [Objective.BINARY, Objective.MULTICLASS])
def test_members_that_are_sure_neither_overflow_nor_vanish(objective: Objective) -> None:
    width = 1 if objective is Objective.BINARY else 3
    logits = torch.zeros(3, 4, width)
    logits[0, :, 0], logits[1, :, 0], logits[2, ::2, 0], logits[2, 1::2, 0] = 1e4, -1e4, 1e4, -1e4
    pooled = pool(logits, objective)
    assert pooled.isfinite().all()
    probabilities = _answers(logits, objective)
    assert probabilities.isfinite().all()
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(3))
    first = 1 if objective is Objective.BINARY else 0
    torch.testing.assert_close(probabilities[:, first], torch.tensor([1.0, 0.0, 0.5]))


def test_one_member_pools_to_itself() -> None:
    for objective in (Objective.BINARY, Objective.MULTICLASS, Objective.REGRESSION):
        logits = torch.randn(5, 1, 3)
        assert torch.equal(pool(logits, objective), logits[:, 0])


def test_binary_answers_have_a_column_for_each_class() -> None:
    logits = torch.tensor([[[2.0]], [[0.0]]])
    wanted = torch.tensor([[1 / (1 + math.e), math.e / (1 + math.e)], [0.5, 0.5]])
    torch.testing.assert_close(_answers(logits, Objective.BINARY, temperature=2.0), wanted)


def test_temperature_flattens_classes() -> None:
    logits = torch.tensor([[[0.0, 2.0, 4.0]]])
    torch.testing.assert_close(
        _answers(logits, Objective.MULTICLASS, temperature=2.0), torch.tensor([[0.0, 1.0, 2.0]]).softmax(1)
    )


def test_regression_answers_are_in_the_targets_units() -> None:
    logits = torch.tensor([[[1.0], [3.0]], [[0.0], [0.0]]])
    answers = _answers(logits, Objective.REGRESSION, mean=100.0, scale=10.0, half_width=5.0)
    assert answers.tolist() == [[120, 100], [115, 95], [125, 105]]
    assert answers.dtype == torch.float32


def test_answers_are_float32_even_from_half_precision() -> None:
    logits = torch.zeros(2, 3, 1, dtype=torch.bfloat16)
    for objective in (Objective.BINARY, Objective.REGRESSION):
        assert _answers(logits, objective).dtype == torch.float32


def test_an_undecided_objective_is_a_fault_of_ours() -> None:
    with pytest.raises(AssertionError, match="decided when the target is read"):
        Answering(nn.Identity(), Objective.AUTO)
