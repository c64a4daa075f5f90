"""One retraining, from the decision to a version in the registry: begun once, whoever is killed when.

All there is to know lies in its folder, `<work>/<id>/`, where the id is the decision's:

    plan.json        what was begun, how many attempts there were, when the last one started, whether it took too long
    records.parquet  the labelled records
    run/             the run's folder: its checkpoint, and the bundle it makes
    attempt-N.log    what each attempt said; attempt-N.pid: its process group
    outcome.json     how it ended, once it has
"""

import fcntl
import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from tidemill.bundle.manifest import Manifest
from tidemill.bundle.registry.registry import Alias, Registry
from tidemill.errors import QualityError, SchemaError, SettingsError, TrainingError
from tidemill.ledger.settings import LedgerSettings
from tidemill.settings.training import CHECKPOINT
from tidemill.steward.evidence import power
from tidemill.steward.retraining import command
from tidemill.steward.retraining.aging import Horizon
from tidemill.steward.retraining.command import RetrainSettings, Runner, Trained
from tidemill.steward.retraining.export import export_records, newest
from tidemill.steward.retraining.running import LOCK, Process, RayJob, Running, log_of

LOG = logging.getLogger(__name__)


class Phase(StrEnum):
    """RUNNING is also one whose training was killed: the next `advance` goes on with it."""

    NOT_BEGUN = "not begun"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """version, passed, reasons: what is in the registry, and what its gate said. why: of a failure."""

    phase: Phase
    attempts: int = 0
    version: str | None = None
    passed: bool | None = None
    reasons: tuple[str, ...] = ()
    why: str | None = None

    @property
    def ended(self) -> bool:
        return self.phase in (Phase.DONE, Phase.FAILED)


@dataclass(kw_only=True)
class Retraining:
    """A retraining that a decision asked for.

    Args:
        folder: `<work>/<id>`; a folder that all stewards of the model share.
        registry: where the champion is, and where the new version goes.
        horizon: up to which records, and labels, count; of a retraining that has begun its plan holds.
        gain: by which the new version's loss is expected to be lower, for the rows that its gate needs.
    """

    settings: RetrainSettings
    folder: Path
    ledger: LedgerSettings
    registry: str
    model: str
    horizon: Horizon
    gain: float = 0.0
    _running: Running = field(init=False)

    def __post_init__(self) -> None:
        self.folder = self.folder.resolve()
        kind = RayJob if self.settings.runner is Runner.RAY else Process
        self._running = kind(self.folder, self.settings)

    def state(self) -> State:
        """As the folder tells it; nothing is begun or changed.

        Raises:
            TrainingError: a file of it cannot be read.
        """
        with _usable(self.folder):
            outcome = _read(self.folder / "outcome.json")
            if outcome is not None:
                return State(**{**outcome, "phase": Phase(outcome["phase"]), "reasons": tuple(outcome["reasons"])})
            plan = _read(self.folder / "plan.json")
            return State(phase=Phase.RUNNING, attempts=plan["attempts"]) if plan else State(phase=Phase.NOT_BEGUN)

    def advance(self) -> State:
        """Begin, go on or conclude, as far as it goes without waiting for the training.

        Raises:
            RegistryError, LedgerError, TrainingError: something could not be reached; another call may go on.
        """
        if (state := self.state()).ended:
            return state
        with _usable(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        with _locked(self.folder / LOCK) as lock:
            if lock is None:  # by the training, or by another steward at this very moment
                return self._waited()
            if (state := self.state()).ended:
                return state
            try:
                return self._forward(state.attempts, lock)
            except (QualityError, SchemaError, SettingsError) as error:
                return self._conclude(State(phase=Phase.FAILED, attempts=state.attempts, why=str(error)))

    def _forward(self, attempts: int, lock: int) -> State:
        plan = _read(self.folder / "plan.json") or self._begin()
        if attempts:
            end = self._running.end(attempts)
            if end is None:
                return self._waited()
            if (found := self._registered()) is not None:
                return self._conclude(_done(found, attempts))
            late, most = plan.get("overdue", [0, 0])
            if late == attempts or not end.killed or attempts >= self.settings.attempts:
                why = end.said or f"ended {attempts} times without a result, at last with status {end.code}"
                if late == attempts:
                    why = f"it took longer than retrain.hours={most:g}, and was ended"
                why = f"{why.rstrip('.')}. Its log: {log_of(self.folder, attempts)}"
                return self._conclude(State(phase=Phase.FAILED, attempts=attempts, why=why))
            LOG.warning("retraining %s was killed; going on with attempt %d", self.folder.name, attempts + 1)
        words = [*plan["words"], *self._resumed()]
        started = datetime.now(UTC).isoformat()
        _write(self.folder / "plan.json", {**plan, "attempts": attempts + 1, "started": started})
        try:
            self._running.start(attempts + 1, words, lock)
        except TrainingError:
            _write(self.folder / "plan.json", {**plan, "attempts": attempts})
            raise
        return State(phase=Phase.RUNNING, attempts=attempts + 1)

    def _waited(self) -> State:
        """Its attempt runs; one that takes too long is ended, which another call finds and concludes."""
        with _usable(self.folder):
            plan, most = _read(self.folder / "plan.json") or {"attempts": 0}, self.settings.hours
            attempts = plan["attempts"]
            if most is not None and "started" in plan:
                ran = datetime.now(UTC) - datetime.fromisoformat(plan["started"])
                if ran > timedelta(hours=most):
                    _write(self.folder / "plan.json", {**plan, "overdue": [attempts, most]})
                    self._running.stop(attempts)
        return State(phase=Phase.RUNNING, attempts=attempts)

    def _begin(self) -> dict[str, Any]:
        """Export the records and compose the command; from then on it stays the same."""
        champion = self._registry.describe(self.model, Alias.CHAMPION)
        file = self.folder / "records.parquet"
        records = export_records(
            self.ledger, self.model, champion.schema, self.horizon, file, share=self.settings.mature_share
        )
        command.check(records, self.settings, champion.schema)
        need = power.needed(champion, self.settings.command, self.gain)
        latest = newest(file, champion.schema, need.records if need is not None else 1)
        splits = command.windows(self.settings, latest, need)
        words = command.words(
            self.settings,
            self._trained(champion, records.before),
            records=file,
            splits=splits,
            run=self._run,
            registry=self.registry,
        )
        until = self.horizon.until.isoformat()
        LOG.info("retraining %s with %d records until %s", self.folder.name, records.rows, until)
        return {"until": until, "records": records.rows, "words": words, "attempts": 0}

    def _trained(self, champion: Manifest, until: datetime) -> Trained:
        run = champion.results.get("run")
        there = run is not None and (Path(run) / CHECKPOINT).is_file()
        if self.settings.warm_start and not there:
            LOG.info("the champion's run is not there (%s), so the retraining starts cold", run)
        return Trained(
            model=self.model,
            schema=champion.schema,
            data=champion.settings["data"],
            run=run if there else None,
            until=until,
            known_before=self.horizon.known_before,
        )

    def _resumed(self) -> Sequence[str]:
        there = (self._run / CHECKPOINT).is_file()
        return [command.setting("training.resume", str(self._run))] if there else []

    def _registered(self) -> tuple[str, Manifest] | None:
        """The version that this retraining made, if it came to that, by the folder of its run."""
        for version in reversed(self._registry.versions(self.model)):
            described = self._registry.describe(self.model, version)
            if described.results.get("run") == str(self._run):
                return version, described
        return None

    def _conclude(self, state: State) -> State:
        _write(self.folder / "outcome.json", asdict(state))
        return state

    @property
    def _run(self) -> Path:
        return self.folder / "run"

    @cached_property
    def _registry(self) -> Registry:
        return Registry(self.registry)


def _done(found: tuple[str, Manifest], attempts: int) -> State:
    version, described = found
    gate = described.results.get("gate")
    if not isinstance(gate, dict):
        why = f"It made version {version}, which no gate has judged."
        return State(phase=Phase.FAILED, attempts=attempts, version=version, why=why)
    return State(
        phase=Phase.DONE,
        attempts=attempts,
        version=version,
        passed=gate["passed"],
        reasons=tuple(gate["reasons"]),
    )


@contextmanager
def _usable(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            "A retraining's folder can be read and written, and holds what the steward wrote",
            observed=f"{folder}: {type(error).__name__}: {error}",
            remedy="give permission and room there; delete a file that was altered, and it is begun anew",
        ) from error


@contextmanager
def _locked(path: Path) -> Iterator[int | None]:
    """An exclusive lock on a file, which also falls when its holders are killed; None where somebody has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield descriptor
    finally:
        os.close(descriptor)


def _read(file: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return content
    except FileNotFoundError:
        return None


def _write(file: Path, content: dict[str, Any]) -> None:
    unfinished = file.with_name(f".{file.name}")
    unfinished.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    unfinished.replace(file)
