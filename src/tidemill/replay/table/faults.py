"""Faults: what is done to the records on their way to the server. The truth stays as it is.

Written KIND:COLUMN[=FROM/TO]@BEGIN[..END], like

    missing:visib@2013-08-01            the sensor no longer reports
    celsius:temp@2013-08-01..2013-09-01 degrees Fahrenheit become Celsius, for a month
    kilometres:distance@2013-10-01      miles become kilometres
    renamed:carrier=UA/U9@2013-11-01    one name becomes another
"""

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from tidemill.data.schema import Schema
from tidemill.errors import ReplayError, listed
from tidemill.moments import instant
from tidemill.settings import Kind

_TEXT = re.compile(
    r"(?P<kind>\w+):(?P<column>[^@=]+)(=(?P<old>[^@/]+)/(?P<new>[^@/]+))?@(?P<begin>.+?)(\.\.(?P<end>.+))?"
)
_FORM = "missing:visib@2013-08-01, celsius:temp@2013-08-01..2013-09-01 or renamed:carrier=UA/U9@2013-11-01"


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One fault, from `begin` until `end` (UTC; None: to the end of the replay). old, new: of a renamed value."""

    kind: str
    column: str
    begin: datetime
    end: datetime | None = None
    old: str | None = None
    new: str | None = None

    def __str__(self) -> str:
        renamed = f"={self.old}/{self.new}" if self.old else ""
        return f"{self.kind}:{self.column}{renamed}@{self.begin:%Y-%m-%d}{f'..{self.end:%Y-%m-%d}' if self.end else ''}"

    def value(self) -> pl.Expr:
        """What the column holds while the fault lasts."""
        return _KINDS[self.kind][1](pl.col(self.column), self)


_KINDS: dict[str, tuple[Kind | None, Callable[[pl.Expr, Fault], pl.Expr]]] = {
    "missing": (None, lambda value, fault: pl.lit(None)),
    "celsius": (Kind.NUMERIC, lambda value, fault: (value - 32) / 1.8),
    "kilometres": (Kind.NUMERIC, lambda value, fault: value * 1.609344),
    "renamed": (Kind.CATEGORICAL, lambda value, fault: value.replace(fault.old, fault.new)),
}
"""Which kind of column each fault is for (None: any), and what it makes of a value."""


def parse(text: str) -> Fault:
    """A fault as it is written on the command line.

    Raises:
        ReplayError: it is not written as above; names the nearest kind.
    """
    found = _TEXT.fullmatch(text.strip())
    if found is None:
        raise _wrong(text, "write it like")
    kind, old = found["kind"], found["old"]
    if kind not in _KINDS:
        near = difflib.get_close_matches(kind, _KINDS, n=1)
        raise _wrong(text, f"did you mean {near[0]!r}? Write it like" if near else f"kinds are {', '.join(_KINDS)}:")
    if (kind == "renamed") != (old is not None):
        raise _wrong(text, "only a renamed value is given with =FROM/TO:")
    try:
        begin, end = (instant(found[name]) if found[name] else None for name in ("begin", "end"))
    except ValueError as error:
        raise _wrong(text, "give dates like 2013-08-01:") from error
    assert begin is not None
    if end is not None and end <= begin:
        raise _wrong(text, "let it end after it began:")
    return Fault(kind=kind, column=found["column"], begin=begin, end=end, old=old, new=found["new"])


def check(faults: Sequence[Fault], schema: Schema) -> None:
    """Faults must fit the columns of the served model: a request that breaks its schema would only be refused.

    Raises:
        ReplayError: there is no such input, it is of another kind, or it may not be missing.
    """
    inputs = {column.name: column for column in schema.inputs}
    for fault in faults:
        column, kind = inputs.get(fault.column), _KINDS[fault.kind][0]
        if column is None:
            near = difflib.get_close_matches(fault.column, inputs, n=1)
            remedy = f"did you mean {near[0]!r}?" if near else f"inputs are {listed(inputs)}"
            raise ReplayError("A fault changes an input of the model", observed=str(fault), remedy=remedy)
        if kind is not None and column.kind is not kind:
            raise ReplayError(
                f"The fault {fault.kind!r} is for {kind} columns",
                observed=f"{fault}: {fault.column} is {column.kind}",
                remedy="name another column",
            )
        if fault.kind == "missing" and not column.missing_allowed:
            raise ReplayError(
                "Only a column that may be missing can go missing: the server would refuse the requests",
                observed=f"{fault}: no value of {fault.column} was missing when the model was trained",
                remedy="name another column, or allow it in a pinned schema (data.schema=…)",
            )


def check_dates(faults: Sequence[Fault], begin: datetime, end: datetime) -> None:
    """
    Raises:
        ReplayError: a fault lies outside of the time that is replayed, so it would do nothing.
    """
    for fault in faults:
        if fault.begin > end or (fault.end is not None and fault.end <= begin):
            raise ReplayError(
                "A fault lies in the time that is replayed",
                observed=f"{fault}, and traffic goes from {begin:%Y-%m-%d} to {end:%Y-%m-%d}",
                remedy="give it another date, or choose --from and --until so that they hold it",
            )


def apply(rows: pl.DataFrame, moments: pl.Series, faults: Sequence[Fault]) -> pl.DataFrame:
    """The rows as they are sent."""
    for fault in faults:
        lasts = moments >= fault.begin
        if fault.end is not None:
            lasts &= moments < fault.end
        value = pl.when(lasts).then(fault.value()).otherwise(pl.col(fault.column))
        rows = rows.with_columns(value.cast(rows.schema[fault.column]).alias(fault.column))
    return rows


def _wrong(text: str, hint: str) -> ReplayError:
    return ReplayError(
        "A fault is written KIND:COLUMN[=FROM/TO]@BEGIN[..END]", observed=repr(text), remedy=f"{hint} {_FORM}"
    )
