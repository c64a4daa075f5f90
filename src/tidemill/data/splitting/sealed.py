"""The seal on the test split: it is opened once, and it records who looked."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import polars as pl

from tidemill.errors import SplitError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """One look at the test split: what for and when (UTC)."""

    purpose: str
    at: datetime


class SealedTest:
    """The test split. It is opened once per run, after every choice is made.

    `opened` and `inspected` say who looked; they belong into the bundle's manifest.
    """

    def __init__(self, table: pl.DataFrame) -> None:
        self._table = table
        self.opened: Look | None = None
        self.inspected: list[Look] = []

    @property
    def rows(self) -> int:
        return self._table.height

    def inspect(self, purpose: str, look: Callable[[pl.DataFrame], T]) -> T:
        """What `look` says about the table, without opening it: for checks of the data, never for results."""
        self.inspected.append(Look(purpose=purpose, at=datetime.now(UTC)))
        return look(self._table)

    def open(self, purpose: str) -> pl.DataFrame:
        """The table, once.

        Raises:
            SplitError: it was opened before; the message names that purpose.
        """
        if self.opened is not None:
            raise SplitError(
                "The test split is opened once per run, after every choice is made",
                observed=f"opening it for {purpose!r}; it was opened for {self.opened.purpose!r} "
                f"at {self.opened.at:%Y-%m-%d %H:%M:%S} UTC",
                remedy="choose on the validation split, and pass the opened table on to whatever reports on it",
            )
        self.opened = Look(purpose=purpose, at=datetime.now(UTC))
        return self._table
