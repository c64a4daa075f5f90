"""One worker: a predictor that scores chunks and writes their parts, in a spawned process or a Ray actor."""

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

import polars as pl

from tidemill.bulk.folder import Folder
from tidemill.bulk.inputs import Chunk
from tidemill.bulk.recording import Recorder, Recording
from tidemill.bulk.scoring import Scored, Scorer
from tidemill.bulk.unseen import Unseen
from tidemill.bundle.predictor import Predictor
from tidemill.data.typed import REASON
from tidemill.errors import SchemaError, TidemillError


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """Where a bundle lies. alias: or a version's number. public_key: of who must have signed it; None: nobody."""

    registry: str
    name: str
    alias: str = "champion"
    public_key: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """model: by its version's number. bundle: its folder on this machine. recording: None: the ledger gets nothing.

    quarantine: set rows that cannot be read aside, rather than stop.
    """

    model: Model
    bundle: Path
    output: Path
    kept: Mapping[str, pl.DataType]
    quarantine: bool
    recording: Recording | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """answered, quarantined, recorded: rows; recorded: those new to the ledger. unseen: as in `Scored`."""

    file: int
    chunk: int
    answered: int
    quarantined: int
    recorded: int = 0
    unseen: Mapping[str, Unseen] = field(default_factory=dict)


class Worker:
    """Scores with one thread of ONNX Runtime: as many workers as there are cores do better than its own threads."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._folder = Folder(work.output)
        self._record = Recorder(work.recording) if work.recording else None
        predictor = Predictor(work.bundle, threads=1, public_key=work.model.public_key)
        self._score = Scorer(predictor, work.kept, self._record.others if self._record else None)

    def __call__(self, chunk: Chunk) -> Done:
        """
        Raises:
            SourceError, SchemaError: the chunk, or a row where rows are not set aside, cannot be read.
            LedgerError: it cannot be recorded.
        """
        scored = self._score(chunk)
        if scored.quarantined.height and not self._work.quarantine:
            _refuse(scored)
        recorded = 0
        if self._record is not None and scored.batch is not None:  # before the part is there, which says that it was
            ids, recorded = self._record(chunk.file, chunk.number, scored.batch)
            scored = replace(scored, answers=scored.answers.insert_column(2, ids))
        self._folder.write(chunk.file, chunk.number, scored)
        return Done(
            file=chunk.file,
            chunk=chunk.number,
            answered=scored.answers.height,
            quarantined=scored.quarantined.height,
            recorded=recorded,
            unseen=scored.unseen,
        )


def _refuse(scored: Scored) -> NoReturn:
    bad = scored.quarantined.row(0, named=True)
    raise SchemaError(
        "Each row must be one that the model's schema can read",
        observed=f"{bad['file']}, row {bad['row']} (the first is 0): {bad[REASON]}",
        remedy="mend the file, or set such rows aside with --on-error quarantine",
    )


def serve(connection: Connection, work: Work) -> None:
    """Answer chunks with `Done` or an error until the other end is closed: that process may have been killed."""
    try:
        worker = Worker(work)
        connection.send(None)
        while True:
            connection.send(_answer(worker, connection.recv()))
    except TidemillError as error:
        connection.send(error)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _answer(worker: Worker, chunk: Chunk) -> Done | TidemillError | str:
    try:
        return worker(chunk)
    except TidemillError as error:
        return error
    except Exception:
        return traceback.format_exc()
