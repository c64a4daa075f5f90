"""The beginning: what `train.py` makes of the experiment's settings, and a first version trained on the time before."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from tidemill.bundle.registry import Alias, Registry
from tidemill.composition import build
from tidemill.data import sources
from tidemill.errors import ReplayError, SettingsError
from tidemill.replay.children import Children
from tidemill.settings import DataSettings
from tidemill.steward.policy import Policy, over, read

_PROGRAM = "train.py"
_CUT = ("data.split.method=time", "data.split.validation_from=null", "data.split.test_from=null")
"""Validation and test are the last shares of the time before; the experiment's own dates would lie in the future."""
_QUICK = ("evaluation.baselines=[]", "evaluation.importance_rows=0", "gate.margin=0.05")
"""Of retrainings: without what only their reports would show, and with a gate for a few days' rows: trials decide."""
_BY = "tidemill replay"


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
        content: Mapping[str, Any] = yaml.safe_load(done.stdout)
        data = build(DataSettings, content["data"], "data")
        return cls(words=tuple(words), name=content["name"], data=data, margin=float(content["gate"]["margin"]))


def before(experiment: Experiment, since: datetime, folder: Path, shuffled: int | None) -> list[str]:
    """Words for `train.py` that make its base table the records before `since`; production's are added to it.

    Args:
        shuffled: a seed: the base table is written into `folder` with its labels permuted; None: they are as they are.
    """
    data = experiment.data
    if shuffled is None:
        options = {"base": data.source, "until": f"{since:%Y-%m-%dT%H:%M:%S}"}
        path, dropped = [], []
    else:
        file = folder / "shuffled.parquet"
        _shuffle(data, since, shuffled).write_parquet(file)
        options = {"base": "files", "until": "null"}
        path, dropped = [f"data.path='{file}'"], [f"~data.options.{name}" for name in data.options]
    added = [f"data.options.{name}={value}" for name, value in {**options, "records": "null"}.items()]
    return [*experiment.words, *dropped, "data.source=production", *added, *path, *_CUT]


def _shuffle(data: DataSettings, since: datetime, seed: int) -> pl.DataFrame:
    frame = sources.open(data)
    if data.time is None or data.target is None:
        raise ReplayError(
            "A replay goes by data.time, and labels of data.target",
            observed=f"data.time={data.time}, data.target={data.target}",
            remedy="set both",
        )
    moment = pl.col(data.time)
    if frame.collect_schema()[data.time] == pl.String:
        moment = moment.str.to_datetime()
    table = sources.collect(frame.filter(moment.dt.replace_time_zone("UTC") < since))
    order = np.random.default_rng(seed).permutation(table.height)
    return table.with_columns(table[data.target].gather(order))


def train(experiment: Experiment, words: Sequence[str], registry: Registry, children: Children, folder: Path) -> None:
    """Train the first version into the replay's own registry.

    Raises:
        ReplayError: training failed.
    """
    places = [f"registry.path='{registry.path}'", f"hydra.run.dir='{folder}'"]
    children.run("training", [sys.executable, _PROGRAM, *words, *places])


def take(experiment: Experiment, source: str, registry: Registry) -> None:
    """Begin with another registry's champion instead.

    Raises:
        RegistryError: there is none.
    """
    with Registry(source).fetched(experiment.name, Alias.CHAMPION) as folder:
        version = registry.add(experiment.name, folder)
    registry.promote(experiment.name, version, by=_BY, reason=f"The champion of {source}.")


def champion(experiment: Experiment, registry: Registry, *, anyhow: bool) -> str:
    """The version that stands at the beginning. anyhow: also one that the gate refused, as nothing can be learnt.

    Raises:
        ReplayError: the gate refused it.
    """
    aliases = registry.aliases(experiment.name)
    if Alias.CHAMPION not in aliases and anyhow:
        reason = "Its labels are shuffled: it cannot be good."
        return registry.promote(experiment.name, aliases[Alias.CANDIDATE], by=_BY, reason=reason)
    if Alias.CHAMPION not in aliases:
        raise ReplayError(
            "A replay begins with a model that the gate has passed",
            observed=f"{experiment.name} {aliases.get(Alias.CANDIDATE)} did not become champion",
            remedy="see why in the report of its bundle, and give the training more data or other settings",
        )
    return aliases[Alias.CHAMPION]


def policy(file: Path | None, words: Sequence[str], into: Path) -> Policy:
    """Write the steward's policy for a replay: ours, and over it the user's.

    Args:
        words: behind `python train.py`, to train anew.

    Returns:
        The whole of it, as the steward will read it.

    Raises:
        SettingsError: the file cannot be read, or a value breaks its rule.
    """
    from importlib.resources import files

    below = yaml.safe_load((files("tidemill.replay") / "policy.yaml").read_text(encoding="utf-8"))
    below["retrain"]["command"] = [sys.executable, _PROGRAM, *words, *_QUICK]
    try:
        above = yaml.safe_load(file.read_text(encoding="utf-8")) or {} if file is not None else {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(
            "--policy names a YAML file that can be read",
            observed=f"{file}: {error}",
            remedy="start from what `tidemill replay` writes into its folder",
        ) from error
    joined = over(below, above)
    into.write_text(yaml.safe_dump(joined, sort_keys=False), encoding="utf-8")
    return read(into)


def fresh(folder: Path) -> None:
    """
    Raises:
        ReplayError: there is something in the folder already: a replay's registry and ledger are its own.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ReplayError(
            "A replay needs a new or empty folder",
            observed=f"{folder} holds {next(folder.iterdir()).name}",
            remedy="name another one with --folder, or remove it",
        )
    folder.mkdir(parents=True, exist_ok=True)
