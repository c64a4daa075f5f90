"""The steward's book, read back: its decisions and readings, and what they say of alarms and of injected faults."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from tidemill.ledger.settings import LedgerSettings
from tidemill.replay.faults import Fault

_MOMENT = pl.Datetime("us", "UTC")
_DECISIONS: dict[str, pl.DataType] = {
    "number": pl.Int64(),
    "kind": pl.String(),
    "moment": _MOMENT,
    "version": pl.String(),
    "reason": pl.String(),
    "proposed": pl.Boolean(),
    "evidence": pl.String(),
}
_READINGS: dict[str, pl.DataType] = {
    "moment": _MOMENT,
    "check": pl.String(),
    "subject": pl.String(),
    "severity": pl.String(),
    "version": pl.String(),
    "says": pl.String(),
    "log_e": pl.Float64(),
    "log_threshold": pl.Float64(),
    "effect": pl.Float64(),
    "unit": pl.String(),
    "alarm": pl.Boolean(),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """Which reading first named a fault's column after it had begun. delay: from then to the end of that period."""

    fault: Fault
    check: str | None
    moment: datetime | None
    says: str | None

    @property
    def delay(self) -> timedelta | None:
        return None if self.moment is None else self.moment - self.fault.begin


def decisions(ledger: LedgerSettings, model: str) -> pl.DataFrame:
    """By number; empty where no steward has decided anything."""
    return _read(ledger, model, "decisions", _DECISIONS).sort("number")


def readings(ledger: LedgerSettings, model: str) -> pl.DataFrame:
    """By the end of their period (`moment`)."""
    return _read(ledger, model, "readings", _READINGS).sort("moment", "check", "subject")


def alarms(readings: pl.DataFrame) -> pl.DataFrame:
    """The readings with which a check of a subject began to be in alarm: one that lasts is counted once."""
    before = pl.col("alarm").shift(fill_value=False).over("check", "subject", order_by="moment")
    return readings.filter(pl.col("alarm") & ~before)


def named(faults: Sequence[Fault], readings: pl.DataFrame) -> list[Named]:
    """What first raised an alarm about each fault's column while it lasted; what was in alarm before does not count."""
    began = alarms(readings)
    found = []
    for fault in faults:
        about = (pl.col("subject") == fault.column) | pl.col("subject").str.starts_with(f"{fault.column}=")
        chosen = began.filter(about, pl.col("moment") > fault.begin)
        if fault.end is not None:
            chosen = chosen.filter(pl.col("moment") <= fault.end + timedelta(days=1))  # the period that it ended in
        first = chosen.sort("moment").head(1).to_dicts()
        row = first[0] if first else {"check": None, "moment": None, "says": None}
        found.append(Named(fault=fault, check=row["check"], moment=row["moment"], says=row["says"]))
    return found


def _read(ledger: LedgerSettings, model: str, name: str, columns: dict[str, pl.DataType]) -> pl.DataFrame:
    import deltalake

    uri, options = ledger.table(model, name), dict(ledger.storage_options) or None
    if not deltalake.DeltaTable.is_deltatable(uri, options):
        return pl.DataFrame(schema=columns)
    return pl.scan_delta(uri, storage_options=options).select(pl.col(c).cast(t) for c, t in columns.items()).collect()
