"""Answers of a bulk run in the model's ledger: the same rows that a server would have recorded, each chunk once.

A chunk's rows go into the table of answers in one commit, which also notes the chunk (see `ledger/commits.py`). What a
chunk is called comes from the model's version and the file, so that neither a resumed run nor one into another folder
records it again, and an answer's id is the same each time.
"""

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from tidemill.bundle.manifest import Manifest
from tidemill.bundle.registry.rollout import Desired
from tidemill.data.cells import values
from tidemill.data.raw import Raw
from tidemill.data.schema import Column, Role as SchemaRole, Schema
from tidemill.errors import LedgerError
from tidemill.ledger import frames, masking, tables
from tidemill.ledger.columns import Segment
from tidemill.ledger.commits import Piece, Table
from tidemill.ledger.inputs import Inputs
from tidemill.ledger.record import Answered, Described, Form, Role
from tidemill.ledger.settings import LedgerSettings, Masking
from tidemill.settings import Kind

ID = "answer_id"
"""A part's column of the ids by which labels can be sent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """What workers need to record.

    Args:
        version: as the ledger must know it.
        files: what each file is called in the ledger, in order.
        rows_per_part: how files are cut.
        key: for digests; empty where nothing is hashed.
    """

    settings: LedgerSettings
    model: str
    version: Described
    role: Role
    files: tuple[str, ...]
    rows_per_part: int
    key: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """What a chunk's record is made of: raw inputs, other columns, and answers, of the same rows."""

    raw: Raw
    others: Mapping[str, list[Any]]
    answers: Mapping[str, Any]
    seconds: float


def prepare(
    ledger: str, described: Manifest, desired: Desired, fingerprints: Sequence[dict[str, Any]], rows_per_part: int
) -> Recording:
    """
    Args:
        ledger: folder or URL. What is masked in it comes from the server that answers there too.
        fingerprints: of the files, see `inputs.fingerprint`.

    Raises:
        LedgerError: the ledger cannot be read, or has a file of these in other parts.
        SettingsError: there is no key for digests.
    """
    model, version = described.identity.model, str(described.identity.version)
    settings = tables.served(ledger, model)
    files = tuple(_name(model, version, one) for one in fingerprints)
    _same_parts(settings, model, fingerprints, files, rows_per_part)
    hashed = any(masking.masking_of(column, settings) is Masking.HASH for column in described.schema.columns)
    return Recording(
        settings=settings,
        model=model,
        version=Described.of(described),
        role=Role.CANARY if version == desired.challenger else Role.CHAMPION,
        files=files,
        rows_per_part=rows_per_part,
        key=_key(settings, settings.segments(model)) if hashed else b"",
    )


def others(version: Described) -> list[Column]:
    """Columns of files that are recorded beside the model's inputs."""
    schema = Schema.from_dict(version.schema)
    return [column for column in schema.columns if column not in schema.inputs and column.role is not SchemaRole.TARGET]


class Recorder:
    """Records chunks into the tables at once: there is nothing to answer quickly, and so no write-ahead segment."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        settings = recording.settings
        self._table = Table(
            settings.table(recording.model, "answers"), settings.storage_options, masking.noted(settings)
        )
        self._inputs = Inputs(recording.version.schema, settings, recording.key)
        self._others = others(recording.version)

    def others(self, table: pl.DataFrame) -> dict[str, list[Any]]:
        """What is recorded of rows beside the model's inputs, as a request would have it."""
        there = [column for column in self._others if column.name in table.columns]
        return {column.name: _sent(column, table[column.name]) for column in there}

    def __call__(self, file: int, chunk: int, batch: Batch) -> tuple[pl.Series, int]:
        """Record a chunk unless it is recorded already. Returns its answers' ids, and how many of them are new.

        Raises:
            LedgerError: the tables cannot be written.
        """
        recording = self._recording
        count = len(next(iter(batch.answers.values())))
        entry = Answered(
            id=hashlib.sha256(f"{recording.files[file]} {recording.rows_per_part} {chunk}".encode()).hexdigest()[:24],
            at=time.time_ns(),
            version=recording.version.version,
            role=recording.role,
            propensity=1.0,
            latency=round(batch.seconds / max(count, 1) * 1e6),  # nobody waited for a single row
            form=Form.COLUMNS,
            inputs=frames.packed({**batch.raw, **batch.others}),
            rows=None,
            answers=dict(batch.answers),
        )
        rows = Segment([recording.version, entry], recording.model, lambda _: self._inputs, recording.key).answers
        if not count:
            return pl.Series(ID, [], dtype=pl.String), 0
        name = recording.files[file]
        pieces = [Piece(f"{name} {chunk}", 1, rows), Piece(name, recording.rows_per_part, rows.clear())]
        try:
            added = self._table.add(pieces)
        except Exception as error:
            from deltalake.exceptions import DeltaError

            if not isinstance(error, DeltaError | OSError):
                raise
            raise _unwritten(self._table.uri, error) from error
        if added and recording.settings.is_local:
            os.sync()  # it must be on the disk before the part is, which says that it was recorded
        return rows["id"].alias(ID), added


def _name(model: str, version: str, fingerprint: Mapping[str, Any]) -> str:
    """What a file is called among the ledger's writers, when a version has scored it."""
    content = json.dumps([model, version, fingerprint], sort_keys=True)
    return f"bulk {hashlib.sha256(content.encode()).hexdigest()}"


def _same_parts(
    settings: LedgerSettings,
    model: str,
    fingerprints: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    rows_per_part: int,
) -> None:
    """Parts of another size would be other chunks, and their rows recorded twice."""
    table = Table(settings.table(model, "answers"), settings.storage_options).open()
    for fingerprint, name in zip(fingerprints, names, strict=True) if table is not None else ():
        before = table.transaction_version(name)
        if before not in (None, rows_per_part):
            raise LedgerError(
                "A file that is recorded again, which adds nothing to the ledger, is cut in the same parts",
                observed=f"{fingerprint['path']} is recorded in {settings.path} in parts of {before:,} rows",
                remedy=f"give --rows-per-part {before}, or leave --record out",
            )


def _key(settings: LedgerSettings, segments: Path) -> bytes:
    try:
        segments.mkdir(mode=0o700, parents=True, exist_ok=True)
        return masking.key(settings, segments)
    except OSError as error:
        raise _unwritten(str(segments), error) from error


def _unwritten(place: str, error: Exception) -> LedgerError:
    return LedgerError(
        "A bulk run that records can write the ledger",
        observed=f"{place}: {str(error).strip().partition(chr(10))[0][:300]}",
        remedy="make room, give permission there, or name another --ledger; then repeat the command",
    )


def _sent(column: Column, stored: pl.Series) -> list[Any]:
    """Values of a column that the model does not read, as JSON has them: text and numbers stay what they are."""
    if values.unreadable(stored.dtype):
        return [None] * len(stored)
    if column.kind is Kind.TIMESTAMP and stored.dtype != pl.String:
        moments = stored.to_frame().select(values.read(column, stored.dtype)).to_series()
        return moments.dt.epoch("us").to_list()
    if stored.dtype.is_numeric() or stored.dtype in (pl.String, pl.Boolean, pl.Null):
        return stored.to_list()
    return stored.cast(pl.String, strict=False).to_list()
