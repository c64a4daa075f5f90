"""What one process does: run Lightning's loop, quietly, and leave the result in the checkpoint."""

import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.profilers import AdvancedProfiler, Profiler as LightningProfiler, SimpleProfiler

from tidemill.errors import TrainingError
from tidemill.settings import Accelerator, Profiler, TrainingSettings
from tidemill.training import signals
from tidemill.training.datamodule import DataModule
from tidemill.training.finish import Finish
from tidemill.training.module import Module
from tidemill.training.progress import Progress
from tidemill.training.record import Log, Record, seconds
from tidemill.training.signals import Request

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """All that a process needs to train. `settings` have accelerator and precision decided."""

    settings: TrainingSettings
    module: Module
    data: DataModule
    record: Record

    def run(self, log: Log, request: Request) -> None:
        """Train from the record's start to the end; `log` gets figures in this process, `request` ends it earlier.

        Raises:
            TrainingError: training failed for a reason that the user can mend.
        """
        self.record.report = log
        finish = Finish(request, self._seconds())
        callbacks: list[Callback] = [self.record, finish, _Signals()]
        if self.settings.progress:
            callbacks.append(Progress(self.record, self.settings.max_epochs, finish))
        with _quiet(), _threads(self.settings.threads), _explained():
            self._trainer(callbacks).fit(self.module, self.data)
        if self.settings.profiler is not Profiler.NONE:
            LOG.info("Where training spent its time is written in %s", self._profile)

    def _seconds(self) -> float | None:
        """What the time limit leaves after the epochs before a resumption."""
        limit = self.settings.max_minutes
        return None if limit is None else 60 * limit - seconds(self.record.history)

    @property
    def _profile(self) -> Path:
        return self.record.folder / "profile"

    def _profiler(self) -> LightningProfiler | None:
        kinds = {Profiler.SIMPLE: SimpleProfiler, Profiler.ADVANCED: AdvancedProfiler}
        kind = kinds.get(self.settings.profiler)
        return None if kind is None else kind(dirpath=self._profile, filename=self.settings.profiler.value)

    def _trainer(self, callbacks: list[Callback]) -> Trainer:
        settings = self.settings
        return Trainer(
            accelerator="gpu" if settings.accelerator is Accelerator.GPU else "cpu",
            devices=settings.devices,
            strategy="ddp" if settings.devices > 1 else "auto",
            precision=settings.precision.value,  # type: ignore[arg-type]
            max_epochs=settings.max_epochs - self.module.done,
            gradient_clip_val=settings.gradient_clip,
            callbacks=callbacks,
            profiler=self._profiler(),
            default_root_dir=self.record.folder,
            # `Record` and `Progress` do these, `Batches` shares rows out among processes.
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            sync_batchnorm=settings.devices > 1 and settings.accelerator is Accelerator.GPU,
        )


class _Signals(Callback):
    """A run may be ended at any moment, so it needs no ceremony: signals do what they did before training.

    Lightning would end with status 0 on SIGTERM and 1 on Ctrl-C, or wait for processes that are gone; under Slurm it
    would take SIGUSR1 for a request to start the job anew.
    """

    def __init__(self) -> None:
        kept = [number for number in (signal.SIGTERM, signal.SIGINT, signals.NUMBER) if number is not None]
        self.before = {number: signal.getsignal(number) for number in kept}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._restore()
        if isinstance(exception, KeyboardInterrupt):
            raise exception

    def _restore(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number, handler in self.before.items():
                signal.signal(number, handler or signal.SIG_DFL)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's banners, tips and advice about things that were decided on purpose."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="GPU available but not used")
            # Lightning 2.6 calls what torch 2.13 deprecates.
            warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)`", category=FutureWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    try:
        if count is not None:
            torch.set_num_threads(count)
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _explained() -> Iterator[None]:
    """What torch says when memory runs out or its compiler cannot work, in the user's terms."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        first = str(error).strip().partition("\n")[0][:200]
        kinds = {kind.__module__.rpartition(".")[0] for kind in type(error).__mro__}
        if kinds & {"torch._dynamo", "torch._inductor"}:
            raise TrainingError(
                "training.compile=true needs a network that torch.compile can translate, and a C++ compiler",
                observed=f"{type(error).__name__}: {first}",
                remedy="install g++, or set training.compile=false",
            ) from error
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in first:
            raise TrainingError(
                "A training step must fit in memory",
                observed=first or "memory ran out",
                remedy="lower training.batch_size or the size of the model",
            ) from error
        raise
