"""How many rows a second training passes over: our path, Lightning with a DataLoader, and a bare loop.

    python scripts/bench/training.py [--rows 200000] [--rounds 5] [--threads 1]
    python scripts/bench/training.py --quick

An MLP (32 → 128 → 128 → 1) on 32 float columns, batches of 512, on the CPU; same network, loss, optimiser, schedule
and clipping in all three, with the settings of conf/training. Rounds alternate between the ways and the best round of
each counts, so that other work on the machine does not decide. A quick run is one round of 10,000 rows.
"""

import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from lightning import LightningModule, Trainer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from omegaconf import OmegaConf
from parts.benchmark import Options, report
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tidemill.composition import build
from tidemill.models import heads
from tidemill.settings import Objective, TrainingSettings
from tidemill.training.fit import fit
from tidemill.training.schedule import rate
from tidemill.training.tensors import Tensors

COLUMNS, WIDTH, BATCH = 32, 128, 512
CONF = Path(__file__).parents[2] / "conf"
TARGETS = {"over_dataloader": {"at_least": 1.8}, "of_raw_loop": {"at_least": 0.7}}


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(COLUMNS, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1)
        )

    def forward(self, numeric_BN: torch.Tensor, categorical_BC: torch.Tensor) -> torch.Tensor:
        logits_BK: torch.Tensor = self.layers(numeric_BN)
        return logits_BK[:, None]


def settings(threads: int) -> TrainingSettings:
    """Training as conf/ has it, one epoch of the same work for every way."""
    work = ["max_epochs=1", f"batch_size={BATCH}", "warmup_epochs=0.1", "class_weights=none"]
    work += ["accelerator=cpu", "precision=32-true", f"threads={threads}", "progress=false"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = OmegaConf.to_container(
            compose("training/default", [f"training.{word}" for word in work]), resolve=True
        )
    assert isinstance(config, dict)
    return build(TrainingSettings, config["training"], "training")


def ours(split: Tensors, validation: Tensors, chosen: TrainingSettings) -> float:
    """Seconds of one epoch, validation and the look at the loss included, the checkpoint not."""
    with tempfile.TemporaryDirectory() as folder:
        result = fit(
            chosen,
            seed=0,
            network=Network(),
            objective=Objective.BINARY,
            train=split,
            validation=validation,
            folder=Path(folder),
        )
    return result.seconds


class Plain(LightningModule):
    """What one writes first: Lightning with its own schedule, logging and loaders."""

    def __init__(self, chosen: TrainingSettings, steps: int) -> None:
        super().__init__()
        self.network, self.chosen, self.steps = Network(), chosen, steps

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        return self._loss(batch)

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        self._loss(batch)

    def _loss(self, batch: list[torch.Tensor]) -> torch.Tensor:
        numeric, categorical, target = batch
        return heads.loss(self.network(numeric, categorical), target, Objective.BINARY)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = torch.optim.AdamW(self.parameters(), lr=1.0, weight_decay=self.chosen.weight_decay, fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, self.steps, self.chosen))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_epoch_start(self) -> None:
        self.began = time.perf_counter()

    def on_train_epoch_end(self) -> None:
        self.seconds = time.perf_counter() - self.began


def dataloader(split: Tensors, validation: Tensors, chosen: TrainingSettings) -> float:
    loaders = [
        DataLoader(TensorDataset(part.numeric, part.categorical, part.target), batch_size=BATCH, shuffle=part is split)
        for part in (split, validation)
    ]
    module = Plain(chosen, len(loaders[0]))
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        gradient_clip_val=chosen.gradient_clip,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, loaders[0], loaders[1])
    return module.seconds


def raw(split: Tensors, validation: Tensors, chosen: TrainingSettings) -> float:
    network = Network()
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=chosen.weight_decay, fused=True)
    began = time.perf_counter()
    order = torch.split(torch.randperm(len(split)), BATCH)
    for step, index in enumerate(order):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, len(order), chosen)
        rows = split[index]
        loss = heads.loss(network(rows.numeric, rows.categorical), rows.target, Objective.BINARY)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        if chosen.gradient_clip is not None:
            nn.utils.clip_grad_norm_(network.parameters(), chosen.gradient_clip)
        optimizer.step()
    with torch.no_grad():
        for start in range(0, len(validation), BATCH):
            rows = validation[start : start + BATCH]
            heads.loss(network(rows.numeric, rows.categorical), rows.target, Objective.BINARY)
    return time.perf_counter() - began


def table(rows: int) -> Tensors:
    numeric = torch.randn(rows, COLUMNS)
    target = (numeric[:, 0] * numeric[:, 1] + torch.randn(rows) > 0).float()
    return Tensors(numeric=numeric, categorical=torch.zeros(rows, 0, dtype=torch.int64), target=target, weight=None)


def main() -> None:
    parser = Options(__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="of torch; 1 also measures well on a busy machine")
    chosen = parser.chosen(rows=10_000, rounds=1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)`", category=FutureWarning)
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(0)
    split, validation = table(chosen.rows), table(chosen.rows // 10)
    ways: dict[str, Callable[[Tensors, Tensors, TrainingSettings], float]] = {
        "ours": ours,
        "dataloader": dataloader,
        "raw_loop": raw,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(chosen.rounds):
        for name, way in ways.items():
            seconds[name].append(way(split, validation, settings(chosen.threads)))
            print(f"round {number + 1}: {name:10} {chosen.rows / seconds[name][-1]:>9,.0f} rows/s", flush=True)
    speed = {name: chosen.rows / min(values) for name, values in seconds.items()}
    figures = {
        **{f"{name}_rows_per_s": round(value) for name, value in speed.items()},
        "over_dataloader": round(speed["ours"] / speed["dataloader"], 2),
        "of_raw_loop": round(speed["ours"] / speed["raw_loop"], 2),
    }
    print(f"\n{'way':12}{'rows/s':>12}")
    for name, value in speed.items():
        print(f"{name:12}{value:>12,.0f}")
    report(__file__, figures, TARGETS)


if __name__ == "__main__":
    main()
