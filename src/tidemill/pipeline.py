"""The spine: the life of a model, from records to a version in the registry, on one screen.

source → schema → checks → splits → preparation → network → calibration      (train, validation)
       → export → parity → evaluation → gate → report → registry             (test, opened once)

What torch is not needed for comes first: it takes seconds to import, and a mistyped word shall cost none of them.
"""

import dataclasses
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill import garbage, secrets
from tidemill.bundle.registry.registry import Alias, Registry
from tidemill.data import dataset
from tidemill.data.dataset import OpenTables
from tidemill.errors import TidemillError
from tidemill.evaluation import evaluate
from tidemill.settings import Settings, with_model, without_model
from tidemill.training import checkpoint, signals, sweep, tracking
from tidemill.training.sweep import Trial
from tidemill.training.tracking import Tracker

if TYPE_CHECKING:
    from tidemill.release import Released
    from tidemill.training.learn import Learned

LOG = logging.getLogger(__name__)


def run(config: Mapping[str, Any], folder: Path, command: str) -> float:
    """From records to a version in the registry. Returns the validation loss.

    Args:
        config: the composed settings, nested and plain.
        folder: the run's own; everything that the run writes, but for the registry, lies in it.
        command: makes the same run again.
    """
    began = time.monotonic()
    settings, opened = _ready(config, registers=True)
    with garbage.paused():
        from tidemill.release import release
        from tidemill.training.learn import learn

    with _tracked(settings, folder) as tracker:
        data = dataset.load(settings.data, folder, opened)
        evaluate.check(data.schema, settings.evaluation)
        learned = learn(settings, data, folder, tracker.log)
        released = release(settings, data, learned, folder, command)
        sweep.write(_done(learned, (), began, released.version), folder)
        _say(settings, released)
        _track(tracker, settings, learned, released)
    return learned.fit.best_loss


def trial(config: Mapping[str, Any], folder: Path, overrides: tuple[str, ...]) -> float:
    """One trial of a sweep, up to the validation loss, which it returns; the test split stays shut.

    A trial that fails, be it by its settings, is recorded as failed (its loss is ∞), and the sweep goes on.
    """
    began = time.monotonic()
    try:
        settings, opened = _ready(config, registers=False)
        with garbage.paused():
            from tidemill.training.learn import learn

        with _tracked(settings, folder, group=folder.parent.name) as tracker:
            data = dataset.load(settings.data, folder, opened)
            learned = learn(settings, data, folder, tracker.log)
        result = _done(learned, overrides, began)
    except TidemillError as error:
        LOG.error("%s", secrets.mask(error.on_console()))
        result = Trial(
            overrides=overrides,
            status="failed",
            validation_loss=None,
            validation={},
            seconds=time.monotonic() - began,
            error=secrets.mask(str(error)),
        )
    sweep.write(result, folder)
    return float("inf") if result.validation_loss is None else result.validation_loss


def _ready(config: Mapping[str, Any], *, registers: bool) -> tuple[Settings, OpenTables]:
    """The settings and the tables that they name, when all is there that a run needs.

    Raises:
        TidemillError: a word that cannot be meant; cheap looks come first, and torch is imported for the last only.
    """
    signals.await_training()
    settings = without_model(config)
    tracking.check(settings.tracking)
    if settings.training.resume is not None:
        checkpoint(settings.training.resume, "training.resume")
    elif settings.training.warm_start is not None:
        checkpoint(settings.training.warm_start, "training.warm_start")
    opened = dataset.open(settings.data)
    if registers:
        Registry(settings.registry.path).probe()
    with garbage.paused():
        settings = with_model(settings)
        from tidemill.training.fit import preflight

    preflight(settings.training)
    return settings, opened


def _say(settings: Settings, released: "Released") -> None:
    LOG.info(
        "%s version %s is %s. Report: %s\nServe it: tidemill serve --registry %s --model %s%s",
        settings.name,
        released.version,
        released.alias,
        released.bundle / "report.html",
        secrets.mask(settings.registry.path),
        settings.name,
        "" if released.alias is Alias.CHAMPION else f" --alias {released.version}",
    )


def _done(learned: "Learned", overrides: tuple[str, ...], began: float, version: str | None = None) -> Trial:
    fit = learned.fit
    return Trial(
        overrides=overrides,
        status="done",
        validation_loss=fit.best_loss,
        validation={**learned.metrics, "best_epoch": fit.best_epoch},
        seconds=time.monotonic() - began,
        version=version,
    )


def _track(tracker: Tracker, settings: Settings, learned: "Learned", released: "Released") -> None:
    from tidemill.report import gallery

    for name, figure in released.figures.items():
        tracker.figure(name, figure)
    for name, table in gallery.tables(released.content).items():
        tracker.table(name, table.columns, table.rows)
    metrics = {f"test/{metric.name}": metric.value for metric in released.content.test.evaluation.metrics}
    tracker.summary(
        {
            **metrics,
            "validation_loss": learned.fit.best_loss,
            "version": released.version,
            "gate_passed": released.verdict.passed,
            "gate_reasons": " ".join(released.verdict.reasons),
        }
    )
    if settings.tracking.log_bundle:
        tracker.artifact(f"{settings.name}-bundle", released.bundle, "model")


@contextmanager
def _tracked(settings: Settings, folder: Path, group: str | None = None) -> Iterator[Tracker]:
    tracker = tracking.open(
        settings.tracking,
        name=f"{settings.name} {folder.name}",
        config=secrets.hidden(dataclasses.asdict(settings)),
        folder=folder,
        group=group,
    )
    try:
        yield tracker
    finally:
        tracker.finish()
