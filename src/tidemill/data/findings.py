"""What the data checks found."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    ERROR = "error"  # stops the run
    WARNING = "warning"  # appears in the report
    INFO = "info"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One check's result: what, where, how much, and what to do about it.

    bars: what was found makes figures on the test split untrustworthy, so the gate refuses the version for it.
    """

    check: str
    severity: Severity
    column: str | None
    message: str
    rows: int
    share: float
    remedy: str
    bars: bool = False
