"""What the readings in the steward's book say of alarms and of injected faults."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from tidemill.replay.table.faults import Fault


@dataclass(frozen=True, kw_only=True, slots=True)
class Detection:
    """Which reading first named a fault's column after it had begun. delay: from then to the end of that period."""

    fault: Fault
    check: str | None
    moment: datetime | None
    says: str | None

    @property
    def delay(self) -> timedelta | None:
        return None if self.moment is None else self.moment - self.fault.begin


def begun(readings: pl.DataFrame) -> pl.DataFrame:
    """The readings with which a check of a subject began to be in alarm: one that lasts is counted once."""
    before = pl.col("alarm").shift(fill_value=False).over("check", "subject", order_by="moment")
    return readings.filter(pl.col("alarm") & ~before)


def named(faults: Sequence[Fault], readings: pl.DataFrame) -> list[Detection]:
    """What first raised an alarm about each fault's column while it lasted; what was in alarm before does not count."""
    began = begun(readings)
    found = []
    for fault in faults:
        about = (pl.col("subject") == fault.column) | pl.col("subject").str.starts_with(f"{fault.column}=")
        chosen = began.filter(about, pl.col("moment") > fault.begin)
        if fault.end is not None:
            chosen = chosen.filter(pl.col("moment") <= fault.end + timedelta(days=1))  # the period that it ended in
        first = chosen.sort("moment").head(1).to_dicts()
        row = first[0] if first else {"check": None, "moment": None, "says": None}
        found.append(Detection(fault=fault, check=row["check"], moment=row["moment"], says=row["says"]))
    return found
