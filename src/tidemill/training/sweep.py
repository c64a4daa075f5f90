"""Sweeps: what each trial came to, and the ranking of a whole multirun.

Every run leaves `result.json` in its folder. After `python train.py -m …` Hydra calls `Ranking`
(named in `conf/hydra`), which reads them all, prints them in order of validation loss and writes
`ranking.csv` into the sweep's folder. The test split plays no part here.
"""

import csv
import json
import math
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from hydra.experimental.callback import Callback

from tidemill.errors import TrainingError

RESULT = "result.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One run of a sweep.

    overrides: what was set on the command line or by the sweeper, like "model.width=256".
    validation_loss: best of the run, smaller is better; null when it failed before the first epoch.
    validation: further figures on the validation split, by metric.
    version: what the registry calls the run's bundle, if it made one.
    """

    overrides: tuple[str, ...]
    status: Literal["done", "failed"]
    validation_loss: float | None
    validation: Mapping[str, float]
    seconds: float
    error: str | None = None
    version: str | None = None
    folder: str = ""
    """Inside the sweep's folder; filled in by `rank`."""


def write(trial: Trial, folder: Path) -> None:
    """Leave `result.json` in a run's folder, whole or not at all."""
    content = asdict(trial)
    del content["folder"]
    partial = folder / f".{RESULT}.partial"
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    partial.replace(folder / RESULT)


def rank(folder: Path) -> list[Trial]:
    """The trials under a sweep's folder, best validation loss first; those without one last.

    A trial's folder without a readable result (it was killed, or its disk was full) counts as failed.
    """
    trials = [_read(place, folder) for place in sorted(_places(folder), key=_natural)]
    return sorted(trials, key=_key)


def _places(folder: Path) -> set[Path]:
    """Folders of trials: Hydra makes each its `.hydra` before it starts, each leaves its result at the end."""
    found = {path.parent for path in folder.rglob(RESULT)}
    return found | {path.parent for path in folder.rglob(".hydra") if path.parent != folder}


def _natural(path: Path) -> list[tuple[int, str]]:
    """Trial 10 comes after trial 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in path.parts]


def _key(trial: Trial) -> tuple[bool, float]:
    loss = trial.validation_loss
    usable = trial.status == "done" and loss is not None and math.isfinite(loss)
    return (not usable, loss if usable and loss is not None else 0.0)


def _read(place: Path, sweep: Path) -> Trial:
    inside = str(place.relative_to(sweep))
    try:
        content = json.loads((place / RESULT).read_text(encoding="utf-8"))
        return Trial(**{**content, "overrides": tuple(content["overrides"]), "folder": inside})
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = "ended without a result" if isinstance(error, FileNotFoundError) else f"{RESULT}: {error!r}"
        return Trial(
            overrides=_overrides(place),
            status="failed",
            validation_loss=None,
            validation={},
            seconds=math.nan,
            error=reason,
            folder=inside,
        )


def _overrides(place: Path) -> tuple[str, ...]:
    """What Hydra noted when the trial began."""
    import yaml

    try:
        noted = yaml.safe_load((place / ".hydra" / "overrides.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return ()
    return tuple(str(override) for override in noted or ())


def write_table(trials: list[Trial], file: Path) -> None:
    """`ranking.csv`: one line a trial, one column a validation figure."""
    metrics = _metrics(trials)
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(
            ["rank", "overrides", "status", "validation_loss", *metrics, "seconds", "version", "folder", "error"]
        )
        for place, trial in enumerate(trials, start=1):
            figures = [trial.validation.get(metric) for metric in metrics]
            texts = (place, " ".join(trial.overrides), trial.status, trial.validation_loss)
            writer.writerow([*texts, *figures, trial.seconds, trial.version, trial.folder, trial.error])


def print_table(trials: list[Trial]) -> None:
    """The ranking on the console; overrides that all trials share are left out of the lines."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shared = set.intersection(*(set(trial.overrides) for trial in trials)) if len(trials) > 1 else set()
    title = "Ranking by validation loss" + (f" ({' '.join(sorted(shared))})" if shared else "")
    metrics = _metrics(trials)[:2]  # a line has to fit; ranking.csv has all of them
    table = Table(title=Text(title), title_justify="left")
    table.add_column("", justify="right")
    table.add_column("trial", overflow="fold", min_width=26)
    for name in ("loss", *metrics, "seconds"):
        table.add_column(Text(name), justify="right", no_wrap=True)
    for place, trial in enumerate(trials, start=1):
        own = " ".join(override for override in trial.overrides if override not in shared) or trial.folder
        figures = [_figure(value) for value in (trial.validation_loss, *map(trial.validation.get, metrics))]
        style = "bold" if place == 1 and not _key(trial)[0] else ("red" if trial.status == "failed" else "")
        table.add_row(str(place), Text(own), *figures, _figure(trial.seconds, 0), style=style)
    console = Console()
    console.print(table)
    for place, trial in enumerate(trials, start=1):
        if trial.status == "failed":
            console.print(Text(f"{place} failed: {trial.error or 'no reason was kept'}", style="red"), soft_wrap=True)
    if not _key(trials[0])[0]:
        console.print(
            Text(f"Train the best and test it: python train.py {shlex.join(trials[0].overrides)}"), soft_wrap=True
        )


def _metrics(trials: list[Trial]) -> list[str]:
    return list(dict.fromkeys(metric for trial in trials for metric in trial.validation))


def _figure(value: float | None, digits: int = 4) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:,.{digits}f}"


class Ranking(Callback):
    """Ranks a multirun when it has ended.

    In `conf/hydra`: `callbacks: {ranking: {_target_: tidemill.training.sweep.Ranking}}`.
    """

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
    if all(_key(trial)[0] for trial in trials):
        problem = TrainingError(
            "At least one trial of a sweep must end well",
            observed=f"all {len(trials)} failed, the first with: {trials[0].error}",
            remedy="try one of them without -m first",
        )
        sys.exit(f"TrainingError: {problem}")
