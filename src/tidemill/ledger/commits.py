"""Writing into a ledger's Delta tables: each segment once, whoever is killed when and whoever else writes.

Delta's transaction identifiers (protocol: "Transaction Identifiers") note, in the very commit that adds a segment's
rows, the writer's name and the segment's number. Whoever finds the number there has nothing left to do.
"""

import logging
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tidemill.ledger.claim import private
from tidemill.ledger.columns import GIVEN
from tidemill.ledger.inputs import APART

_ATTEMPTS = 12
_CONFIGURATION = {
    "delta.logRetentionDuration": "interval 1 days",  # a commit every few seconds makes a long log
    "delta.deletedFileRetentionDuration": "interval 1 days",
}
LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Piece:
    """The rows of one segment for one table."""

    writer: str
    number: int
    rows: pl.DataFrame


class Table:
    """One Delta table, for writing.

    Args:
        noted: what each commit says beside its rows, for `tables.masked`.
    """

    def __init__(self, uri: str, storage_options: Mapping[str, str], noted: Mapping[str, str] | None = None) -> None:
        self.uri = uri
        self._noted = dict(noted) if noted else None
        self._options = dict(storage_options) or None
        self.commits = 0
        """How many commits were made through this object."""

    def open(self) -> Any:
        """A `deltalake.DeltaTable`, or None where there is none yet."""
        import deltalake

        if not deltalake.DeltaTable.is_deltatable(self.uri, self._options):
            return None
        return deltalake.DeltaTable(self.uri, storage_options=self._options)

    def add(self, pieces: Sequence[Piece]) -> int:
        """Commit, at once, those pieces that are not in the table yet. Returns how many rows these have.

        Args:
            pieces: without gaps and in order for each writer.

        Raises:
            deltalake.exceptions.DeltaError: the table cannot be written, or others were faster too often.
        """
        from deltalake.exceptions import DeltaError

        for attempt in range(_ATTEMPTS):
            try:
                return self._add(pieces)
            except DeltaError as error:  # whether it was a conflict, the next look at the table tells
                if attempt == _ATTEMPTS - 1:
                    raise
                LOG.info("another look at %s after: %s", self.uri, error)
                time.sleep(random.uniform(0, 0.05 * 2 ** min(attempt, 6)))
        raise AssertionError("the last attempt returns or raises")

    def _add(self, pieces: Sequence[Piece]) -> int:
        from deltalake import CommitProperties, Transaction, write_deltalake

        table = self.open() or self._created(pieces[0].rows)
        done = {writer: table.transaction_version(writer) or 0 for writer in {one.writer for one in pieces}}
        missing = [one for one in pieces if one.number > done[one.writer]]
        if not missing:
            return 0
        last = {one.writer: one.number for one in missing}
        rows = pl.concat([one.rows for one in missing], how="diagonal")
        write_deltalake(
            table,
            with_inputs(rows, _fields(table)),
            mode="append",
            schema_mode="merge",
            commit_properties=CommitProperties(
                app_transactions=[Transaction(writer, number) for writer, number in last.items()],
                custom_metadata=self._noted,
            ),
        )
        self.commits += 1
        return rows.height

    def _created(self, rows: pl.DataFrame) -> Any:
        """An empty table: a commit that creates one does not look whether another was faster with the same segment."""
        from deltalake import write_deltalake

        if "://" not in self.uri:
            private(Path(self.uri))
        write_deltalake(
            self.uri,
            with_inputs(rows.clear(), {}),
            mode="append",
            schema_mode="merge",
            partition_by="day",
            configuration=_CONFIGURATION,
            storage_options=self._options,
        )
        return self.open()


def with_inputs(rows: pl.DataFrame, fields: Mapping[str, Any]) -> pl.DataFrame:
    """Gather the columns of inputs into one struct, `inputs`.

    Args:
        rows: with columns called `<field>\\0<kind>`.
        fields: that the table's `inputs` has already. Where a field of that name is of another type, or differs in
            upper and lower case only (which Delta does not tell apart), a column becomes `<field> (<kind>)`.
    """
    flat = [name for name in rows.columns if APART in name and name != GIVEN]
    if not flat:
        return rows.drop(GIVEN, strict=False)
    taken = {name.lower(): (name, dtype) for name, dtype in fields.items()}
    named = []
    for name in flat:
        field, kind = name.split(APART)
        choice = next(
            choice
            for choice in (field, f"{field} ({kind})", *(f"{field} ({kind} {number})" for number in range(2, 1000)))
            if taken.get(choice.lower(), (choice, rows.schema[name])) == (choice, rows.schema[name])
        )
        taken[choice.lower()] = (choice, rows.schema[name])
        named.append(pl.col(name).alias(choice))
    inputs = pl.when(pl.col(GIVEN)).then(pl.struct(named)).alias("inputs")
    return rows.select(*(name for name in rows.columns if APART not in name), inputs)


def _fields(table: Any) -> dict[str, Any]:
    dtype = pl.scan_delta(table).collect_schema().get("inputs")
    return dict(dtype.to_schema()) if isinstance(dtype, pl.Struct) else {}
