"""Sweeps: what each trial came to, and which was best.

Every run leaves `result.json` in its folder; `ranking.py` shows them all. The test split plays no part here.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from tidemill.evaluation.metrics import METRICS
from tidemill.evaluation.results import MAIN

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


def ended_well(trial: Trial) -> bool:
    """Whether it has a validation loss that can be ranked."""
    return trial.status == "done" and trial.validation_loss is not None and math.isfinite(trial.validation_loss)


def _key(trial: Trial) -> tuple[bool, float]:
    well = ended_well(trial)
    return (not well, trial.validation_loss if well and trial.validation_loss is not None else 0.0)


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


def main_metric(trials: Sequence[Trial]) -> str | None:
    """The metric of these trials' objective that people are told first."""
    return next((name for name in MAIN.values() if any(name in trial.validation for trial in trials)), None)


def places_by(trials: Sequence[Trial], metric: str) -> dict[str, int]:
    """A trial's folder → its place by a validation metric, 1 for the best; equal figures share one."""
    sign = -1 if any(known.name == metric and known.higher_is_better for known in METRICS) else 1
    usable = {t.folder: sign * t.validation[metric] for t in trials if ended_well(t) and metric in t.validation}
    return {folder: 1 + sum(other < value for other in usable.values()) for folder, value in usable.items()}
