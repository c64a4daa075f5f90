"""The steward's book: decisions and readings, append-only, in two more Delta tables of the ledger.

A decision's number is claimed by the very commit that writes it: of two stewards that decide at once, one is told that
it was too late. What any engine can read of Delta can read why a model was changed, and by what figures.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, get_args, get_type_hints

import polars as pl

from tidemill.data.cells.parsing import TIMESTAMP
from tidemill.ledger.commits import Piece, Table
from tidemill.ledger.settings import LedgerSettings
from tidemill.ledger.tables import scan
from tidemill.steward.watch import Reading


class Kind(StrEnum):
    RETRAIN = "retrain"
    SHADOW = "shadow"
    CANARY = "canary"
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    DROP = "drop"
    KEEP = "keep"
    HOLD = "hold"
    APPROVE = "approve"


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """One decision, with what led to it.

    number: from 1, without gaps. at: when, by the wall clock; moment: by the policy's clock.
    kind: what is done: begin a retraining; let a challenger answer in shadow, or as canary a `share` of requests;
        make it champion; take the champion before it back; end a trial without a change (drop); end a probation (keep);
        do nothing though something asked for it (hold); a person's word for the decision `refers` (approve).
    version: what it is about. retraining: the name of the retraining it is about, or begins.
    generation: of the registry's state on which it rests; it is carried out in that state or never.
    proposed: it waits for a person's word.
    evidence: the numbers. reason: what they mean, for a person.
    """

    number: int
    kind: Kind
    moment: datetime
    reason: str
    generation: int
    champion: str | None = None
    version: str | None = None
    share: float | None = None
    retraining: str | None = None
    refers: int | None = None
    proposed: bool = False
    by: str = "steward"
    evidence: Mapping[str, Any] = field(default_factory=dict)
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def same(self) -> tuple[object, ...]:
        """Equal for two decisions to do the same thing in the same state."""
        return self.kind, self.version, self.share, self.retraining, self.refers, self.generation


def _columns(kind: type) -> dict[str, pl.DataType]:
    """A column for each field of a record; kinds, mappings (as JSON) and names are texts."""
    types = {int: pl.Int64(), float: pl.Float64(), bool: pl.Boolean(), datetime: TIMESTAMP}
    hints = {name: next(iter(get_args(hint)), hint) for name, hint in get_type_hints(kind).items()}
    return {name: types.get(hint, pl.String()) for name, hint in hints.items()}


_DECISIONS = {**_columns(Decision), "day": pl.Date()}
_READINGS = {"moment": TIMESTAMP, "version": pl.String(), **_columns(Reading), "alarm": pl.Boolean(), "day": pl.Date()}


class Book:
    """Both tables of one model.

    Raises:
        deltalake.exceptions.DeltaError: (all methods) a table cannot be read or written.
    """

    def __init__(self, ledger: LedgerSettings, model: str) -> None:
        self._ledger, self._model = ledger, model
        self._decisions = Table(ledger.table(model, "decisions"), ledger.storage_options)
        self._readings = Table(ledger.table(model, "readings"), ledger.storage_options)

    def decisions(self) -> list[Decision]:
        """All, oldest first."""
        names = {each.name for each in fields(Decision)}
        found = []
        for row in decisions(self._ledger, self._model).collect().to_dicts():
            values = {name: value for name, value in row.items() if name in names}
            kind, evidence = Kind(values.pop("kind")), json.loads(values.pop("evidence"))
            found.append(Decision(kind=kind, evidence=evidence, **values))
        return found

    def decide(self, decision: Decision) -> bool:
        """Write a decision; False where its number is taken: somebody else was faster."""
        row = {
            **asdict(decision),
            "kind": str(decision.kind),
            "evidence": json.dumps(decision.evidence, ensure_ascii=False),
            "day": decision.at.date(),
        }
        frame = pl.DataFrame([row], schema=_DECISIONS)
        return self._decisions.add([Piece("decisions", decision.number, frame)]) == 1

    def read(self, source: str, end: datetime, version: str, readings: Sequence[Reading]) -> None:
        """Write the readings of the period that ended at `end`, once, however often it is weighed again.

        source: which clock the period was weighed by: traffic or labels.
        """
        rows = [
            {
                "moment": end,
                "version": version,
                **{name: getattr(one, name) for name in _READINGS if hasattr(one, name)},
                "severity": str(one.severity),
                "day": end.date(),
            }
            for one in readings
        ]
        if rows:
            number = int(end.timestamp() // 3600)
            self._readings.add([Piece(source, number, pl.DataFrame(rows, schema=_READINGS))])


def decisions(ledger: LedgerSettings, model: str) -> pl.LazyFrame:
    """Decisions as rows, by number. `evidence` is JSON text."""
    return scan(ledger, model, "decisions", _DECISIONS).sort("number")


def latest(ledger: LedgerSettings, model: str, version: str, moments: Collection[datetime]) -> list[dict[str, Any]]:
    """The last reading of each check and subject of a version; alarms first, then by evidence.

    moments: ends of the last periods, of traffic and of labels; what was only read before is not so any more.
    """
    mine = readings(ledger, model).filter(pl.col("version") == version, pl.col("moment").is_in(list(moments)))
    last = mine.group_by("check", "subject").last().collect().drop("day", "version")
    near = pl.col("log_e") / pl.col("log_threshold")
    order = [~pl.col("alarm"), pl.col("severity") != "harm", -near, "check", "subject"]
    return last.sort(order).to_dicts()


def readings(ledger: LedgerSettings, model: str) -> pl.LazyFrame:
    """Readings as rows, by the end of their period (`moment`)."""
    return scan(ledger, model, "readings", _READINGS).sort("moment", "check", "subject")
