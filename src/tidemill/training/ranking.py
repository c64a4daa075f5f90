"""A multirun as a person follows it: how far it is before each trial, and the ranking of all trials at its end.

Hydra calls `Ranking`, which `conf/config.yaml` names.
"""

import csv
import logging
import math
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback

from tidemill import secrets
from tidemill.errors import TrainingError
from tidemill.training.sweep import Trial, ended_well, main_metric, places_by, rank

LOG = logging.getLogger(__name__)
SHOWN = 2
"""Metrics on the console, where a line has to fit; `ranking.csv` has all of them."""
WIDTH = 120
"""Of what is written into a file or pipe, in characters."""


def write_table(trials: list[Trial], file: Path) -> None:
    """`ranking.csv`: one line a trial, one column a validation figure, and the place by the main metric."""
    metrics, main = _metrics(trials), main_metric(trials)
    places = places_by(trials, main) if main else {}
    by = [f"rank_by_{main}"] if main else []
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        figures = ("validation_loss", *metrics, "seconds")
        writer.writerow(["rank", *by, "overrides", "status", *figures, "version", "folder", "error"])
        for place, trial in enumerate(trials, start=1):
            values = [trial.validation.get(metric) for metric in metrics]
            ranks = (place, *([places.get(trial.folder)] if main else []))
            texts = (*ranks, " ".join(trial.overrides), trial.status, trial.validation_loss)
            writer.writerow([*texts, *values, trial.seconds, trial.version, trial.folder, trial.error])


def print_table(trials: list[Trial]) -> None:
    """The ranking on the console; overrides that all trials share are left out of the lines."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shared, main = _shared(trials), main_metric(trials)
    others = [name for name in _metrics(trials) if name not in (main, "log_loss", "best_epoch")]
    metrics = [*([main] if main else []), *others][:SHOWN]
    title = "Ranking by validation loss" + ("; (1): the best by that metric" if metrics else "")
    places = {metric: places_by(trials, metric) for metric in metrics}
    table = Table(title=Text(title), title_justify="left")
    table.add_column("", justify="right")
    table.add_column("trial", overflow="fold", min_width=20)
    for name in ("loss", *metrics, "seconds"):
        table.add_column(Text(name), justify="right", no_wrap=True)
    for place, trial in enumerate(trials, start=1):
        own = _own(trial, shared)
        figures = [_placed(trial.validation.get(metric), places[metric].get(trial.folder)) for metric in metrics]
        style = "bold" if place == 1 and ended_well(trial) else ("red" if trial.status == "failed" else "")
        loss, seconds = _figure(trial.validation_loss), _figure(trial.seconds, 0)
        table.add_row(str(place), Text(own), loss, *figures, seconds, style=style)
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    if shared:
        alike = " ".join(word for word in trials[0].overrides if word in shared)
        console.print(Text(f"All trials: {alike}"), soft_wrap=True)
    console.print(table)
    for place, trial in enumerate(trials, start=1):
        if trial.status == "failed":
            console.print(Text(f"{place} failed: {trial.error or 'no reason was kept'}", style="red"), soft_wrap=True)
    if ended_well(trials[0]):
        for text in _closing(trials, main):
            console.print(Text(text), soft_wrap=True)


def _closing(trials: Sequence[Trial], main: str | None) -> list[str]:
    """What the ranking comes to: the loss ranks, and the main metric may see it otherwise."""
    best, shared = trials[0], _shared(trials)
    lines = []
    if main and (places := places_by(trials, main)) and places.get(best.folder, 1) > 1:
        other = next(trial for trial in trials if places.get(trial.folder) == 1)
        lines.append(
            f"By {main}, {_own(other, shared)} is the best: {_figure(other.validation[main])} against "
            f"{_figure(best.validation[main])}. Nothing here says whether that is more than chance."
        )
    return [*lines, f"Train the best and test it: python train.py {shlex.join(best.overrides)}"]


def _shared(trials: Sequence[Trial]) -> set[str]:
    return set.intersection(*(set(trial.overrides) for trial in trials)) if len(trials) > 1 else set()


def _own(trial: Trial, shared: set[str]) -> str:
    """What this trial differs in."""
    return " ".join(override for override in trial.overrides if override not in shared) or trial.folder


def _metrics(trials: list[Trial]) -> list[str]:
    return list(dict.fromkeys(metric for trial in trials for metric in trial.validation))


def _figure(value: float | None, digits: int = 4) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:,.{digits}f}"


def _placed(value: float | None, place: int | None) -> str:
    return _figure(value) + (f" ({place})" if place else "")


def time_left(seconds: float) -> str:
    """ "about 4 minutes left"."""
    for unit, size in (("hour", 3600.0), ("minute", 60.0)):
        if seconds >= 1.5 * size:
            return f"about {seconds / size:.0f} {unit}s left"
    return f"about {max(10 * round(seconds / 10), 10)} seconds left"


class Ranking(Callback):
    """Says how far a multirun is, and ranks it when it has ended.

    What the data are is shown by the first trial that reads them so, and not again by each.
    """

    def __init__(self) -> None:
        self.total: int | None = None
        self.swept: set[str] = set()
        self.seen: list[Any] = []
        self.began = time.monotonic()

    def on_multirun_start(self, config: Any, **kwargs: Any) -> None:
        """`config.hydra.overrides.task` are the words of the command, like "model=mlp,tabm"."""
        from hydra.core.override_parser.overrides_parser import OverridesParser

        self.began = time.monotonic()
        words = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
        parsed = OverridesParser.create().parse_overrides([*words, *config.hydra.overrides.task])
        sweeps = {word.get_key_element(): word for word in parsed if word.is_sweep_override()}
        self.swept = {key.lstrip("+") for key in sweeps}
        if str(config.hydra.sweeper.get("_target_")).endswith(".BasicSweeper"):  # others decide as they go
            self.total = math.prod(len(list(word.sweep_string_iterator())) for word in sweeps.values())

    def on_job_start(self, config: Any, **kwargs: Any) -> None:
        from omegaconf import OmegaConf

        if str(config.hydra.mode).rpartition(".")[2] != "MULTIRUN":
            return
        done = int(config.hydra.job.num)
        own = [word for word in config.hydra.overrides.task if word.partition("=")[0].lstrip("+") in self.swept]
        passed = time.monotonic() - self.began
        left = f", {time_left(passed / done * (self.total - done))}" if self.total and done else ""
        LOG.info(
            "Trial %s%s%s: %s",
            done + 1,
            f" of {self.total}" if self.total else "",
            left,
            secrets.mask(" ".join(own or config.hydra.overrides.task)),
        )
        data = OmegaConf.to_container(config.get("data"), resolve=False) if "data" in config else None
        logging.getLogger("tidemill.data").setLevel(logging.WARNING if data in self.seen else logging.NOTSET)
        self.seen.append(data)

    def on_job_end(self, config: Any, job_return: Any, **kwargs: Any) -> None:
        logging.getLogger("tidemill.data").setLevel(logging.NOTSET)

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        """`config.hydra.sweep.dir` is the sweep's folder."""
        folder = Path(config.hydra.sweep.dir)
        trials = rank(folder)
        if trials:
            write_table(trials, folder / "ranking.csv")
            print_table(trials)
            _stop_if_all_failed(trials)


def _stop_if_all_failed(trials: list[Trial]) -> None:
    """End with a status that says so; Hydra turns any other exception of a callback into a warning."""
    if not any(map(ended_well, trials)):
        problem = TrainingError(
            "At least one trial of a sweep must end well",
            observed=f"all {len(trials)} failed, the first with: {trials[0].error}",
            remedy="try one of them without -m first",
        )
        sys.exit(problem.on_console())
