"""What a watch is: one kind of check of a served model, fed with rows, read after each period.

Every module of `tidemill.steward.watches` with a `Settings` dataclass and `build(settings, watched) -> Watch` is one;
to add another, write one more, or name a module of your own by its dotted name in the policy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

import polars as pl

from tidemill.bundle.manifest import Manifest
from tidemill.secrets import mask
from tidemill.steward.losses import Loss

LONGEST = 60
"""Characters of a client's value that an alarm quotes."""
_SAYS, _SUBJECT = 2_000, 200


def quoted(value: str) -> str:
    """A client's value as it stands in alarms, and so in logs, on pages and at the webhook: cut, its secrets masked."""
    return repr(_cut(mask(value[: 10 * LONGEST]), LONGEST))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


class Severity(StrEnum):
    """Harm pages somebody and may cause decisions; advice explains and never acts; news raises no alarm at all."""

    HARM = "harm"
    ADVICE = "advice"
    NEWS = "news"


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What one check of one subject says at the end of a period.

    check: like "missing". subject: a column, a slice like "origin=JFK", or "" for everything.
    says: a sentence for a person, with the figures. remedy: what to do about it.
    log_e, log_threshold: evidence so far and where it becomes an alarm, natural logs. Zero evidence is 0.
    effect, unit: how much it matters, like 0.12 "share of rows moved". since: when it probably began, if known.
    """

    check: str
    subject: str
    severity: Severity
    says: str
    remedy: str
    log_e: float
    log_threshold: float
    effect: float
    unit: str
    since: datetime | None = None

    def __post_init__(self) -> None:
        """What clients sent may stand in them, whichever watch made them."""
        object.__setattr__(self, "says", _cut(mask(self.says[: 2 * _SAYS]), _SAYS))
        object.__setattr__(self, "subject", _cut(mask(self.subject[: 2 * _SUBJECT]), _SUBJECT))

    @property
    def alarm(self) -> bool:
        return self.severity is not Severity.NEWS and self.log_e >= self.log_threshold


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """The version that is watched: what its bundle says, and by which loss its answers are judged.

    profile: profile.json, {"inputs": …, "answers": …} (data/profiles/profile.py).
    """

    manifest: Manifest
    profile: Mapping[str, Any]
    losses: Loss


class Watch(Protocol):
    """One check, with state. Deterministic: the same rows in the same order give the same readings.

    `labelled`: whether it is fed a period when its labels are in, or as soon as the period is over.
    `canary`: whether it is fed all traffic, or the rows that the watched version itself has answered.
    `state`: all that it keeps from one call to the next, as a dataclass that `snapshots` can store. A restarted steward
    builds the watch anew and puts what was stored in its place.
    """

    labelled: bool
    canary: bool
    state: Any

    def take(self, rows: pl.DataFrame) -> None:
        """Some rows of the present period, at least one, in order of their moment.

        The columns are those of the ledger's answers (ledger/columns.py: id, at, version, role, latency_us, inputs,
        label, probabilities, …), no shadows, with `moment`, and for a labelled watch only rows
        that have a label, in `true_label` or `true_value`. `inputs` is a struct of the raw columns by name; it is null
        where the inputs could not be read, and fields may be absent.
        """

    def close(self, begin: datetime, end: datetime) -> Sequence[Reading]:
        """The period [begin, end) is over: what there is to say now. Also called for a period without rows."""


@runtime_checkable
class Learner(Watch, Protocol):
    """A watch that is fed unlabelled rows to judge (`labelled` is false), and labelled ones to learn from.

    The loop asks `isinstance(watch, Learner)`.
    """

    def learn(self, rows: pl.DataFrame) -> None:
        """Rows as a labelled watch takes them, when their labels are in; between any two calls."""
