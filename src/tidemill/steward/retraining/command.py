"""The command of a retraining: what is set about it, and the words that run the pipeline on old and new data."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from tidemill.composition import Conflict, Rule
from tidemill.data.schema import Role, Schema
from tidemill.data.sources.production import AGE_WEIGHT
from tidemill.errors import QualityError, SettingsError
from tidemill.settings import AtLeastOne, Kind, Positive
from tidemill.settings.rules import Days, Hours, Share
from tidemill.steward.evidence.power import Need
from tidemill.steward.retraining.background import Priority
from tidemill.steward.retraining.export import Records


class History(StrEnum):
    """Which rows a retraining learns from: all; those of the last days; or all, older ones counting less."""

    FULL = "full"
    WINDOW = "window"
    AGED = "aged"


class Runner(StrEnum):
    """As a process beside the steward, or as a job of a Ray cluster."""

    PROCESS = "process"
    RAY = "ray"


Command = Rule("a command's words, like [python, train.py, +experiment=flights]", lambda words: len(words) > 1)


@dataclass(kw_only=True, slots=True)
class RetrainSettings:
    command: Annotated[list[str], Command]
    """How the model is trained: its words come first, and the steward adds what differs for a retraining. It runs
    where the steward runs, or from that same folder on the cluster."""
    history: History
    window_days: Annotated[float, Positive, Days] | None
    """history=window: days before the newest record."""
    half_life_days: Annotated[float, Positive, Days] | None
    """history=aged: a row so much older than the newest counts half."""
    warm_start: bool
    """Begin from the weights of the champion's run, where its folder is still there."""
    validation_days: Annotated[float, Positive, Days]
    """At least the records of these days, before those of the test split, choose the best epoch …"""
    test_days: Annotated[float, Positive, Days]
    """… and the newest ones are the test split, on which the gate compares with the champion. Both are longer where
    that gate needs more rows to decide (power.py)."""
    mature_share: Annotated[float, Share] | None
    """Records are learnt from once they are so old that this share of the labels of every class have come; null: as
    soon as they have a label, though labels that come early may not be like the others."""
    min_records: Annotated[int, AtLeastOne]
    """Fewer labelled records are not worth a retraining."""
    runner: Runner
    ray_address: str | None
    """runner=ray: http://HOST:8265 of the cluster's head; null: RAY_API_SERVER_ADDRESS, or a Ray on this machine."""
    threads: Annotated[int, AtLeastOne]
    """Processor threads that a retraining may use …"""
    priority: Priority
    """… and what it gets of processors that serving wants as well."""
    attempts: Annotated[int, AtLeastOne]
    """How often one retraining may be started, each time from where the killed one was."""
    hours: Annotated[float, Positive, Hours] | None
    """An attempt that takes longer is ended, and the retraining has failed; null: it may take for ever."""

    def conflicts(self) -> Iterator[Conflict]:
        needed = {History.WINDOW: "window_days", History.AGED: "half_life_days"}.get(self.history)
        if needed is not None and getattr(self, needed) is None:
            yield Conflict(needed, None, f"must be set for history={self.history}")
        held_out = self.validation_days + self.test_days
        if self.history is History.WINDOW and self.window_days is not None and self.window_days <= held_out:
            yield Conflict(
                "window_days", self.window_days, f"must be more than validation_days + test_days = {held_out:g}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What the champion's manifest says of how it was trained. run: the folder; None if a run did not say.

    until, known_before: rows of earlier moments are old enough now, and of their labels those that came before.
    """

    model: str
    schema: Schema
    data: Mapping[str, Any]
    run: str | None
    until: datetime
    known_before: datetime


def check(records: Records, settings: RetrainSettings, schema: Schema) -> None:
    """Whether a retraining is worth its while.

    Raises:
        QualityError: there are too few labelled records, or all with the same label.
        SettingsError: the model's table has no moments, by which to split.
    """
    if records.rows < settings.min_records:
        raise QualityError(
            "A retraining needs enough labelled records of production",
            observed=f"{records.rows:,}, and retrain.min_records={settings.min_records:,}",
            remedy="wait for labels (POST /feedback), or lower retrain.min_records",
        )
    if not records.varied:
        raise QualityError(
            "The labelled records of production must have different labels, for a model to learn from them",
            observed=f"the same label {records.rows:,} times",
            remedy="look at what sends the labels",
        )
    time = schema.only(Role.TIME)
    if time is None or time.kind is not Kind.TIMESTAMP:
        raise SettingsError(
            "A retraining splits by time, so the model's table needs a column of timestamps as data.time",
            observed="no such column" if time is None else f"{time.name!r} is {time.kind}",
            remedy="train a champion with data.time=COLUMN first",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Windows:
    """The splits of a retraining by time: rows from these moments on are of the validation, and of the test split."""

    validation_from: datetime
    test_from: datetime


def windows(settings: RetrainSettings, newest: Sequence[datetime], need: Need | None) -> Windows:
    """The splits: the days that are set, and as many more as make up the rows that are needed.

    Args:
        newest: the latest moments of the records, the newest first: as many as are needed, if there are.
        need: of the gate; None: whatever the days have.

    Raises:
        QualityError: so many records leave none to learn from (history=window), or there are not so many.
    """
    test_from = newest[0] - timedelta(days=settings.test_days)
    if need is not None and len(newest) < need.records:
        raise QualityError(
            "A retraining that cannot be decided is not begun",
            observed=f"{len(newest):,} labelled records that are old enough; {need}",
            remedy="wait for labels, or widen the gate's margin (gate.margin in retrain.command)",
        )
    if need is not None:
        test_from = min(test_from, newest[need.rows - 1])
    validation_from = test_from - timedelta(days=settings.validation_days)
    if need is not None:
        validation_from = min(validation_from, newest[need.records - 1])
    window = settings.window_days if settings.history is History.WINDOW else None
    if window is not None and validation_from <= newest[0] - timedelta(days=window):
        raise QualityError(
            "A retraining needs records to learn from, older than those of validation and test",
            observed=f"these begin at {validation_from:%Y-%m-%d %H:%M}, and retrain.window_days={window:g}",
            remedy="set a longer retrain.window_days, or widen the gate's margin (gate.margin in retrain.command)",
        )
    return Windows(validation_from=validation_from, test_from=test_from)


def words(
    settings: RetrainSettings, trained: Trained, *, records: Path, splits: Windows, run: Path, registry: str
) -> list[str]:
    """The whole command: what the settings' words begin, with the records' file, the splits and the run's folder."""
    given = {key.lstrip("+"): value for key, _, value in (word.partition("=") for word in settings.command)}
    found: dict[str, object] = {
        "name": trained.model,
        "data.source": "production",
        "data.validation_path": None,
        "data.test_path": None,
        **_base(trained, given),
        "data.options.records": str(records),
        "data.options.window_days": settings.window_days if settings.history is History.WINDOW else None,
        "data.options.half_life_days": settings.half_life_days if settings.history is History.AGED else None,
        **_weight(settings, trained.data, given),
        "data.split.method": "time",
        "data.split.validation_from": _instant(splits.validation_from),
        "data.split.test_from": _instant(splits.test_from),
        **({"training.warm_start": trained.run} if settings.warm_start and trained.run else {}),
        "training.threads": settings.threads,
        "registry.path": registry,
        "registry.promote": False,
        "hydra.run.dir": str(run),
    }
    return [*settings.command, *(setting(key, value) for key, value in found.items())]


def setting(key: str, value: object) -> str:
    """A word of Hydra's grammar; text is quoted, whatever is in it."""
    if isinstance(value, str):
        escaped = value.replace("'", r"\'")
        return f"{key}='{escaped}'"
    return f"{key}={'null' if value is None else str(value).lower() if isinstance(value, bool) else value}"


def _base(trained: Trained, given: Mapping[str, str]) -> dict[str, object]:
    """The base table is the champion's own, or what that one was retrained with, if the command does not say.

    Where a column says when its rows' labels became known, it is read as things stand now.
    """
    data = trained.data
    options = data.get("options", {}) if data["source"] == "production" else {"base": data["source"]}
    known = {f"data.options.{name}": options.get(name) for name in ("base", "until", "label_time")}
    found: dict[str, object] = {key: value for key, value in known.items() if value is not None and key not in given}
    if given.get("data.options.label_time", options.get("label_time")) not in (None, "null"):
        found |= {
            "data.options.until": _instant(trained.until),
            "data.options.labels_before": _instant(trained.known_before),
        }
    return found


def _weight(settings: RetrainSettings, data: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, object]:
    """Weights by age have a column of their own, unless the table has weights, which they are multiplied with."""
    own = data.get("weight") not in (None, AGE_WEIGHT) or "data.weight" in given
    return {} if settings.history is not History.AGED or own else {"data.weight": AGE_WEIGHT}


def _instant(moment: datetime) -> str:
    """In whole seconds, the later one: a split never gets rows of before."""
    whole = moment.replace(microsecond=0) + timedelta(seconds=math.ceil(moment.microsecond / 1_000_000))
    return whole.isoformat()
