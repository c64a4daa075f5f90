"""Train a network: Lightning's loop over resident tensors, exact resumption, one or several processes."""

import logging
import math
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn

from tidemill.errors import TrainingError
from tidemill.models.meaning import Meaning
from tidemill.settings import Accelerator, Objective, Precision, TrainingSettings
from tidemill.training import processes, resume
from tidemill.training.datamodule import DataModule, edges
from tidemill.training.job import Job
from tidemill.training.module import Module
from tidemill.training.record import Log, Record, best_epoch, no_better, seconds, write_history
from tidemill.training.tensors import Tensors, weighted

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """A trained network.

    Attributes:
        network: with the weights of the best epoch, on the CPU, in evaluation mode.
        history: one entry per epoch, see `Record`.
        best_epoch: the epoch (from 1) with the lowest validation loss, `best_loss`.
        epochs: trained in all.
        seconds: spent in epochs, by all processes that this run was continued in.
        device: what the last epoch was computed on.
    """

    network: nn.Module
    history: list[dict[str, float]]
    best_epoch: int
    best_loss: float
    epochs: int
    seconds: float
    device: str


def fit(
    settings: TrainingSettings,
    *,
    seed: int,
    network: nn.Module,
    objective: Objective,
    train: Tensors,
    validation: Tensors,
    folder: Path,
    log: Log | None = None,
    meaning: Meaning | None = None,
) -> Fit:
    """Train `network` (in place) on `train`; choose its weights by the loss on `validation`.

    Writes `checkpoints/last.ckpt` and `history.jsonl` into `folder`, and nothing elsewhere. With `settings.resume`
    it goes on from there to the result that the resumed run would have reached; a finished run returns its result.

    Args:
        log: gets figures and the optimiser step they belong to: every epoch's entry, and now and then
            batch_loss and learning_rate. Called in this process, also when several train.
        meaning: what the network's weights belong to; kept with them, for a warm start.

    Raises:
        TrainingError: the device is not there, the loss is not finite, memory or disk is full, or
            `settings.resume` does not fit.
    """
    settings = decided(settings, len(train))
    if settings.overfit_batches is not None:
        train = validation = train[: settings.overfit_batches * _batch_size(settings)]
    train, validation = weighted(train, validation, settings.class_weights, objective)
    _check_batch_norm(settings, network, len(train))
    identity = resume.identity(
        settings,
        seed=seed,
        network=network,
        objective=objective,
        splits={"training": train, "validation": validation},
    )
    log = log or _nowhere
    started = None
    if settings.resume is not None:
        started = resume.read(Path(settings.resume))
        resume.check(started.identity, identity)
        for entry in started.history:
            log(entry, int(entry["step"]))
    done = len(started.history) if started else 0
    asked = False
    if started is not None and _finished(started.history, settings):
        started.write(folder)
        write_history(folder, started.history)
    else:
        job = Job(
            settings=settings,
            module=Module(network, objective=objective, settings=settings, seed=seed, done=done),
            data=DataModule(train, validation, batch_size=_batch_size(settings), seed=seed, done=done),
            record=Record(folder, identity, started=started, patience=settings.patience, meaning=meaning),
        )
        asked = processes.run(job, log)
    end = resume.read(folder)
    _say_early_end(end.history, settings, asked)
    return _result(end, network)


def _say_early_end(history: list[dict[str, float]], settings: TrainingSettings, asked: bool) -> None:
    reason = (
        "SIGUSR1" if asked else f"training.max_minutes={settings.max_minutes:g}" if _over(history, settings) else ""
    )
    if reason:
        LOG.info(
            "Training ended early (%s), in epoch %d of at most %d. The best so far, epoch %d, is what goes on",
            *(reason, len(history), settings.max_epochs, best_epoch(history)),
        )


def _result(end: resume.Checkpoint, network: nn.Module) -> Fit:
    network.cpu().load_state_dict(end.best)
    best = best_epoch(end.history)
    return Fit(
        network=network.eval(),
        history=end.history,
        best_epoch=best,
        best_loss=end.history[best - 1]["validation_loss"],
        epochs=len(end.history),
        seconds=seconds(end.history),
        device=end.device,
    )


def _finished(history: list[dict[str, float]], settings: TrainingSettings) -> bool:
    over = len(history) >= settings.max_epochs or no_better(history, settings.patience)
    return over or _over(history, settings)


def _over(history: list[dict[str, float]], settings: TrainingSettings) -> bool:
    """Whether the time limit has ended it, or leaves nothing to go on with."""
    limit = settings.max_minutes
    return limit is not None and ("share" in history[-1] or seconds(history) >= 60 * limit)


def _nowhere(figures: dict[str, float], step: int) -> None:
    pass


def preflight(settings: TrainingSettings) -> None:
    """What can be known before any data is read: the device is there, and so is the run to be resumed or started from.

    Raises:
        TrainingError: it is not.
    """
    decided(settings, rows=1)
    if settings.resume is not None:
        resume.read(Path(settings.resume))
    elif settings.warm_start is not None:
        resume.read(Path(settings.warm_start), "training.warm_start")


def decided(settings: TrainingSettings, rows: int) -> TrainingSettings:
    """With `auto` replaced by what this machine has, and batch_size=null by what suits the training rows.

    Raises:
        TrainingError: the accelerator, the number of devices or the precision asked for is not there.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    on_gpu = settings.accelerator is Accelerator.GPU or (settings.accelerator is Accelerator.AUTO and gpus > 0)
    if on_gpu and gpus < settings.devices:
        raise TrainingError(
            "The devices asked for must be there",
            observed=f"training.accelerator={settings.accelerator}, training.devices={settings.devices}, "
            f"and {gpus} GPU(s) that torch {torch.__version__} can use",
            remedy="set training.accelerator=cpu or fewer training.devices; for a GPU, install a CUDA build of torch "
            "and check that nvidia-smi answers",
        )
    precision = settings.precision
    if precision is Precision.AUTO:
        precision = Precision.BF16 if on_gpu and torch.cuda.is_bf16_supported() else Precision.FULL
    if precision is Precision.FP16 and not on_gpu:
        raise TrainingError(
            "16-bit floating point needs a GPU",
            observed="training.precision=16-mixed on the CPU",
            remedy="set training.precision=32-true (or bf16-mixed)",
        )
    return replace(
        settings,
        accelerator=Accelerator.GPU if on_gpu else Accelerator.CPU,
        precision=precision,
        batch_size=settings.batch_size or usual_batch_size(rows),
    )


def _batch_size(settings: TrainingSettings) -> int:
    assert settings.batch_size is not None, "it has been decided"
    return settings.batch_size


def usual_batch_size(rows: int) -> int:
    """The largest power of two from 64 to 1,024 that leaves 200 steps in an epoch: small tables need their steps."""
    return max(64, min(1024, 1 << int(math.log2(max(rows // 200, 1)))))


def _check_batch_norm(settings: TrainingSettings, network: nn.Module, rows: int) -> None:
    """Batch normalisation is trained on what one process sees of a batch; make sure that it is the batch."""
    if not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules()):
        return
    limits = edges(rows, _batch_size(settings))
    smallest = min(stop - start for start, stop in pairwise(limits))
    if smallest < 2:
        raise TrainingError(
            "A network with batch normalisation needs at least two rows in each batch",
            observed=f"a batch of {smallest} (training.batch_size={settings.batch_size}, {rows:,} rows)",
            remedy="raise training.batch_size, or choose a model without batch normalisation",
        )
    if settings.devices > 1 and settings.accelerator is Accelerator.CPU:
        raise TrainingError(
            "On CPUs, a network with batch normalisation trains in one process: each would normalise by its own rows",
            observed=f"training.devices={settings.devices}",
            remedy="set training.devices=1, or choose a model without batch normalisation",
        )
