"""How far a steward is, for people and for programs that wait: what its last look came to, as one JSON file."""

import json
import shlex
from datetime import UTC, datetime
from typing import Any

import polars as pl

from tidemill.bundle.registry.registry import Registry
from tidemill.bundle.registry.rollout import Desired
from tidemill.bundle.registry.store import explained, open_store
from tidemill.ledger import tables
from tidemill.ledger.settings import LedgerSettings
from tidemill.steward.book import Decision
from tidemill.steward.policy import Policy
from tidemill.steward.watch import Reading
from tidemill.steward.weighing import Weighing

FILE = "steward/status.json"


def content(
    model: str, policy: Policy, desired: Desired, weighing: Weighing, begun: Decision | None, waits: str = ""
) -> bytes:
    """begun: the decision for the retraining that is under way. waits: for what one that is wanted is not begun yet."""
    progress, trial, time = weighing.progress, weighing.trial, policy.time
    found: dict[str, Any] = {
        "model": model,
        "mode": str(policy.mode),
        "champion": desired.champion,
        "challenger": desired.challenger if trial is not None else None,
        "stage": str(trial.comparison.stage) if trial is not None else "watching",
        "trial": trial.figures() if trial is not None else None,
        "retraining": begun.retraining if begun is not None else None,
        "retraining_waits_for": waits or None,
        "performance": weighing.standing,
        "seen_until": progress.seen_until,
        "labelled_until": progress.labelled_until,
        "period_hours": time.period_hours,
        "grace_hours": time.grace_hours,
        "label_wait_hours": time.label_wait_hours,
        "alarms": [_brief(one) for alarms in weighing.alarms.values() for one in alarms],
        "at": datetime.now(UTC),
    }
    return json.dumps(found, default=lambda value: value.isoformat(), ensure_ascii=False).encode()


def read(ledger: LedgerSettings, model: str) -> bytes | None:
    """What a steward's last look at a model came to; None where none has looked."""
    assert ledger.path is not None
    with explained(ledger.path, "ledger"):
        return open_store(ledger.path).read(model, FILE)


def unwatched(ledger: LedgerSettings, model: str, registry: Registry) -> str:
    """What there is to say of a model that no steward has looked at, and what to do.

    Raises:
        RegistryError: there is no such model, or it has no champion.
        LedgerError: the ledger cannot be read.
    """
    registry.resolve(model, "champion")
    places = shlex.join(["--model", model, "--registry", registry.path, "--ledger", str(ledger.path)])
    said = [f"No steward has watched {model} yet: nothing is weighed, and nothing can raise an alarm."]
    answers = tables.answers(ledger, model)
    counted = answers.select(pl.len().alias("rows"), pl.col("at").max().alias("last")).collect(engine="streaming")
    rows, last = counted.row(0)
    if rows:
        said.append(f"Its ledger has {rows:,} answers, the last of {last:%Y-%m-%d %H:%M} UTC. To have them watched:")
    else:
        served = shlex.join(["tidemill", "serve", "--model", model, "--registry", registry.path])
        said += [f"There are no answers in {ledger.path} either. Serve it, or score files with predict --record:"]
        said += [f"  {served} ledger.path={shlex.quote(str(ledger.path))}", "Then have it watched:"]
    return "\n".join([*said, f"  tidemill steward {places}"])


def _brief(reading: Reading) -> dict[str, Any]:
    return {name: getattr(reading, name) for name in ("check", "subject", "severity", "says", "remedy", "since")}
