"""The beginning: what `train.py` makes of the experiment's settings, and a first version trained on the time before."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from tidemill.bundle.registry.registry import Alias, Registry
from tidemill.data import infer, sources, typed
from tidemill.data.schema import Role, Schema
from tidemill.data.target import Target, fit
from tidemill.errors import ReplayError, SettingsError
from tidemill.replay.live.children import Children
from tidemill.replay.table.window import Before, TimeWindow
from tidemill.settings import DataSettings, Objective, from_config

_PROGRAM = "train.py"
_CUT = ("data.split.method=time", "data.split.validation_from=null", "data.split.test_from=null")
"""Validation and test are the last shares of the time before; the experiment's own dates would lie in the future."""
_BY = "tidemill replay"
REPORT = Path("bundle") / "report.html"
"""Inside a training's folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """What is replayed: the words behind `python train.py`, and what they come to."""

    words: tuple[str, ...]
    name: str
    data: DataSettings
    margin: float
    """The gate's: the share of a champion's loss that another one may be worse by."""

    @classmethod
    def composed(cls, words: Sequence[str]) -> "Experiment":
        """As `train.py` itself composes them.

        Raises:
            SettingsError: they do not compose, or break a rule; or there is no train.py here.
        """
        if not Path(_PROGRAM).is_file():
            raise SettingsError(
                "A replay trains by train.py and conf/, which lie beside each other",
                observed=f"no {_PROGRAM} in {Path.cwd()}",
                remedy="start it in the repository's folder",
            )
        command = [sys.executable, _PROGRAM, *words, "--cfg", "job", "--resolve"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SettingsError(
                "The words behind `tidemill replay` are settings of train.py",
                observed=done.stderr.strip().splitlines()[-1],
                remedy="try them with `python train.py … --cfg job`",
            )
        settings = from_config(yaml.safe_load(done.stdout))
        return cls(words=tuple(words), name=settings.name, data=settings.data, margin=settings.gate.margin)


@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """The base table: what was known before the replay. Production's records are added to it.

    words: for `train.py`, to train on it. data: what they come to. schema, target: as training will find them.
    labels: of the rows that the first model learns from. spread: of a regression's, one standard deviation.
    """

    words: tuple[str, ...]
    data: DataSettings
    schema: Schema
    target: Target
    labels: pl.Series
    spread: float | None


def base(experiment: Experiment, window: TimeWindow, before: Before, folder: Path, shuffled: int | None) -> Base:
    """Write the base table into `folder`, and look at it as training will.

    It has all rows before the window, and when their labels became known: the first model is trained on those that
    were old enough at its beginning, a retraining on those that are by then.

    Args:
        shuffled: a seed: its labels are permuted; None: they are as they are.

    Raises:
        SchemaError, SettingsError, SourceError: training would not begin.
    """
    data, file, table = experiment.data, folder / "before.parquet", before.table
    table.write_parquet(file)
    options: dict[str, Any] = {
        "base": "files",
        "until": window.mature_until.isoformat(),
        "label_time": before.label_time,
        "labels_before": window.since.isoformat(),
        "records": None,
    }
    dropped = [f"~data.options.{name}" for name in data.options]
    added = [f"data.options.{name}={_word(value)}" for name, value in options.items()]
    places = ["data.source=production", *added, f"data.path='{file}'", "data.format=auto", "data.limit=null"]
    settings = replace(data, source="production", options=options, path=str(file), format="auto", limit=None)
    frame = sources.open(settings)
    schema = infer.infer(frame, settings)
    goal = schema.only(Role.TARGET)
    assert goal is not None, "the whole table has one"
    labels = typed.apply(frame, schema).table[goal.name]
    if shuffled is not None:  # nothing reads the file any more
        order = np.random.default_rng(shuffled).permutation(table.height)
        table.with_columns(pl.col(goal.name).gather(order)).write_parquet(file)
    target = fit(labels, settings)
    return Base(
        words=(_PROGRAM, *experiment.words, f"name='{experiment.name}'", *dropped, *places, *_CUT),
        data=settings,
        schema=schema,
        target=target,
        labels=labels,
        spread=float(np.std(target.encode(labels))) if target.objective is Objective.REGRESSION else None,
    )


def _word(value: object) -> str:
    return "null" if value is None else f"'{value}'" if value != "files" else "files"


def train(words: Sequence[str], registry: Registry, children: Children, folder: Path) -> None:
    """Train the first version into the replay's own registry.

    Raises:
        ReplayError: training failed.
    """
    places = [f"registry.path='{registry.path}'", f"hydra.run.dir='{folder}'"]
    children.run("training", [sys.executable, *words, *places])


def take(experiment: Experiment, source: str, registry: Registry) -> tuple[Schema, Target]:
    """Begin with another registry's champion instead; by its own schema the records are read.

    Raises:
        RegistryError: there is none.
    """
    with Registry(source).fetched(experiment.name, Alias.CHAMPION) as folder:
        version = registry.add(experiment.name, folder)
    registry.promote(experiment.name, version, by=_BY, reason=f"The champion of {source}.")
    described = registry.describe(experiment.name, version)
    identity, goal = described.identity, described.schema.only(Role.TARGET)
    assert goal is not None
    return described.schema, Target(name=goal.name, objective=identity.objective, classes=tuple(identity.classes))


def champion(experiment: Experiment, registry: Registry, folder: Path, *, anyhow: bool) -> str:
    """The version that stands at the beginning. anyhow: also one that the gate refused, as nothing can be learnt.

    Args:
        folder: of its training.

    Raises:
        ReplayError: the gate refused it.
    """
    aliases = registry.aliases(experiment.name)
    if Alias.CHAMPION in aliases:
        return aliases[Alias.CHAMPION]
    version = aliases[Alias.CANDIDATE]
    if anyhow:
        reason = "Its labels are shuffled: it cannot be good."
        return registry.promote(experiment.name, version, by=_BY, reason=reason)
    reasons = registry.describe(experiment.name, version).results.get("gate", {}).get("reasons", ())
    raise ReplayError(
        "A replay begins with a model that the gate has passed",
        observed=f"it refused {experiment.name} {version}: {' '.join(reasons)} Its report: {folder / REPORT}",
        remedy="give the training more records (a later --from) or other settings (model=…, training.max_epochs=…), "
        "and run it again: nothing was sent, so the folder is taken anew",
    )
