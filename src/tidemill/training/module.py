"""One optimiser step, and the losses of an epoch."""

import torch
from lightning import LightningModule
from torch import nn

from tidemill.errors import TrainingError
from tidemill.models import heads
from tidemill.settings import Objective, Precision, TrainingSettings
from tidemill.training.datamodule import Batch, stream
from tidemill.training.schedule import rate
from tidemill.training.tensors import Tensors


class Module(LightningModule):
    """A network with its loss and optimiser; `Record` reads the losses and keeps the epochs' history.

    Args:
        network: (numeric_BN, categorical_BC) → logits_BEK.
        done: epochs trained before this process started (resumed runs).
    """

    def __init__(
        self, network: nn.Module, *, objective: Objective, settings: TrainingSettings, seed: int, done: int = 0
    ) -> None:
        super().__init__()
        self.network, self.objective, self.settings = network, objective, settings
        self.seed, self.done = seed, done
        self.epoch, self.step, self.learning_rate = done, 0, 0.0

    def setup(self, stage: str) -> None:
        # Past nn.Module's bookkeeping: the state keeps the network's own names, and the network leaves uncompiled.
        self.__dict__["answer"] = torch.compile(self.network) if self.settings.compile else self.network

    def configure_optimizers(self) -> torch.optim.Optimizer:
        groups = [
            {"params": parameters, "weight_decay": decay}
            for parameters, decay in zip(decayed(self.network), (self.settings.weight_decay, 0.0), strict=True)
            if parameters
        ]
        # With 16-bit gradients the fused step would scale them back itself, after they are clipped.
        fused = self.settings.precision is not Precision.FP16
        return torch.optim.AdamW(groups, lr=self.settings.learning_rate, fused=fused)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        # Lightning's own refuses to clip for any fused optimiser in mixed precision.
        if gradient_clip_val is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), gradient_clip_val)

    def on_train_start(self) -> None:
        self.step = self.done * self._steps_per_epoch
        (self.optimizer,) = self.trainer.optimizers

    @property
    def _steps_per_epoch(self) -> int:
        return int(self.trainer.num_training_batches)

    def on_train_epoch_start(self) -> None:
        self.epoch = self.done + self.trainer.current_epoch
        torch.manual_seed(stream(self.seed, self.epoch, 1 + self.trainer.global_rank))
        self.train_sum, self.validation_sum = _Mean(self.device), _Mean(self.device)
        self.recent = _Mean(self.device)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        self.learning_rate = rate(self.step, self._steps_per_epoch, self.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        loss = self._loss(batch)
        self.recent.add(loss.detach(), batch)
        self.step += 1
        return loss if batch.share is None else loss * batch.share

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        rows = batch.rows
        answer_BK = heads.pool(
            self._logits(rows), self.objective
        )  # judged by the joint answer, trained member by member
        loss = heads.loss(answer_BK[:, None], rows.target, self.objective, weight_B=rows.weight)
        self.validation_sum.add(loss, batch)

    def recent_loss(self) -> float:
        """Mean training loss of this process since the last call.

        Raises:
            TrainingError: it is not finite.
        """
        loss = float(self.recent)
        self._check(loss, "training")
        self.train_sum.merge(self.recent)
        return loss

    def losses(self) -> tuple[float, float]:
        """Of the epoch, averaged by weight over the rows of all processes: (training, validation).

        The training loss is the mean of what each batch had when its step was taken.

        Raises:
            TrainingError: one of them is not finite.
        """
        self.recent_loss()
        for mean in (self.train_sum, self.validation_sum):
            mean.value = self.trainer.strategy.reduce(mean.value, reduce_op="sum")
        train, validation = float(self.train_sum), float(self.validation_sum)
        self._check(validation, "validation")
        return train, validation

    def _loss(self, batch: Batch) -> torch.Tensor:
        rows = batch.rows
        return heads.loss(self._logits(rows), rows.target, self.objective, weight_B=rows.weight)

    def _logits(self, rows: Tensors) -> torch.Tensor:
        logits_BEK: torch.Tensor = self.__dict__["answer"](rows.numeric, rows.categorical)
        return logits_BEK.float()

    def _check(self, loss: float, split: str) -> None:
        if loss - loss == 0:  # neither NaN nor infinite
            return
        raise TrainingError(
            "The loss must stay finite",
            observed=f"a {split} loss of {loss} in epoch {self.epoch + 1}, by step {self.step}",
            remedy="lower training.learning_rate, set training.gradient_clip=1, or look for extreme values "
            "(preparation.numeric.clip)",
        )


class _Mean:
    """A weighted mean of losses, kept on the device: [weighted sum, sum of weights] in float64."""

    def __init__(self, device: torch.device) -> None:
        self.value = torch.zeros(2, dtype=torch.float64, device=device)

    def add(self, loss: torch.Tensor, batch: Batch) -> None:
        total = batch.rows.total
        if batch.share is not None:
            total = torch.where(batch.share > 0, total, 0)
        self.value += torch.stack([loss * total, total])

    def merge(self, other: "_Mean") -> None:
        """Take over what `other` holds and leave it empty."""
        self.value += other.value
        other.value.zero_()

    def __float__(self) -> float:
        weighted, total = self.value.tolist()
        return float(weighted / total) if total else 0.0


def decayed(network: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters that weight decay holds for, and the others: biases and normalisations, whose size is not complexity.

    (As in the training code of the TabM paper, arXiv:2410.24210.)
    """
    norms = (nn.LayerNorm, nn.RMSNorm, nn.modules.batchnorm._BatchNorm)
    free = {
        id(parameter)
        for module in network.modules()
        for name, parameter in module.named_parameters(recurse=False)
        if isinstance(module, norms) or name.startswith("bias")
    }
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return [p for p in parameters if id(p) not in free], [p for p in parameters if id(p) in free]
