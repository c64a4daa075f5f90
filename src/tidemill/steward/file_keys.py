"""Files of labels that name records by the model's own key, instead of answers by their ids."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import polars as pl

from tidemill.errors import LedgerError
from tidemill.ledger import masking, tables
from tidemill.ledger.record import Label
from tidemill.ledger.settings import LedgerSettings, Masking
from tidemill.serve.wire import feedback

_OTHERS = ("label", "value", "at")


class FileKeys:
    """The keys of one model's records, as files have them and as its ledger has them.

    Args:
        column: the model's column of keys; None: it has none, and labels come by id alone.
    """

    def __init__(self, ledger: LedgerSettings, model: str, column: str | None) -> None:
        self.column = column
        self._ledger, self._model = ledger, model

    def named(self, table: pl.DataFrame) -> pl.DataFrame:
        """The table with its keys in a column `key`, under whichever of the two names they came.

        Where the model's own column is called `id`, a value there is an answer's id if it is written like one; one that
        is called as others of a file must come as `key`.
        """
        if "key" in table.columns or self.column in _OTHERS or self.column not in table.columns:
            return table
        if self.column != "id":
            return table.rename({self.column: "key"})
        ids = pl.Series("id", [one if feedback.is_id(one) else None for one in table["id"]], dtype=pl.String)
        return table.with_columns(ids, table["id"].alias("key"))

    def kept(self, labels: Sequence[Label]) -> list[Label]:
        """The labels with their keys as the ledger keeps those of answers.

        Raises:
            LedgerError: the ledger masks them, or has digests whose key is not to be found here.
        """
        if self.column is None or all(label.key is None for label in labels):
            return list(labels)
        how = (tables.masked(self._ledger, self._model) or {}).get(self.column, Masking.KEEP)
        if how is Masking.KEEP:
            return list(labels)
        if how is Masking.MASK:
            raise LedgerError(
                "Labels come by key where the ledger keeps keys",
                observed=f"ledger.columns.{self.column}=mask",
                remedy="name answers by id, or serve with this column hashed",
            )
        secret = masking.found(self._ledger, self._ledger.segments(self._model))
        if secret is None:
            raise LedgerError(
                "Labels come by key where the key for the ledger's digests is known",
                observed=f"ledger.columns.{self.column}=hash, and no key for digests here",
                remedy=f"set {masking.VARIABLE} as the server has it, or send these labels to POST /feedback",
            )
        digest = masking.digests({label.key for label in labels if label.key is not None}, secret)
        return [msgspec.structs.replace(one, key=digest[one.key]) if one.key is not None else one for one in labels]

    def check(self, file: Path, labels: Sequence[Label], rows: pl.DataFrame) -> None:
        """
        Args:
            labels: as the file has them; rows: the same as the ledger will.

        Raises:
            LedgerError: an id or a key belongs to no answer.
        """
        soon = "an answer is there some seconds after it was given"
        self._answered("id", file, labels, rows, f"correct the id or leave the row out; {soon}")
        send = f"send the column {self.column!r} in each row of /predict, or score files that have it with "
        self._answered("key", file, labels, rows, f"{send}`tidemill predict --record`; {soon}")

    def _answered(self, name: str, file: Path, labels: Sequence[Label], rows: pl.DataFrame, remedy: str) -> None:
        if name not in rows.columns:
            return
        given = tables.answers(self._ledger, self._model).select(name).join(rows.lazy(), on=name, how="semi")
        there = given.unique().collect(engine="streaming")[name]
        unknown = rows[name].is_not_null() & ~rows[name].is_in(there.implode())
        if unknown.any():
            first, others = unknown.arg_true()[0], unknown.sum() - 1
            shown = f"{name} {getattr(labels[first], name)!r}, of which the ledger has no answer"
            raise LedgerError(
                f"The {name} of a label is that of an answer in the ledger",
                observed=f"{file}, row {first + 1}: {shown}" + (f" (and {others:,} more)" if others else ""),
                remedy=remedy,
            )
