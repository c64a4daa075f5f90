"""The files that are scored: which they are, what makes a resumed run's the same ones, and how they are cut in chunks.

Parquet and Arrow files are read by whoever scores a chunk: only its plan travels. CSV can be read from its
beginning only, so its rows travel; of JSON Lines the lines do, and are parsed where they are scored.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any

import fsspec
import polars as pl

from tidemill.bulk import lines
from tidemill.data import made_moments
from tidemill.data.reading import FAILURES, collect, reworded, unreadable, without_panic_text
from tidemill.data.schema import Schema
from tidemill.data.sources import _partitions, files
from tidemill.errors import SourceError

HEAD = 10_000
"""Rows looked at before the work begins."""

_WORDS = {
    "data.path": "--input",
    " or data.format": "",
    "set data.format, or give": "give",
    "set data.format to one of csv, parquet, arrow, jsonl, delta": "give the file one of them",
    "set data.format to what it is": "give the file the right ending",
    ", or set data.options.separator": "",
    "set data.options.encoding (for example latin-1), or store": "store",
    "set data.options.columns=[…] if the file has no header line": "put one above it if there is none",
}
"""Errors of the sources speak of training's settings; these are the words here."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class File:
    """number: its place among all inputs. kind: its format; JSON in one list is `json`.

    rows: all of them, where that is known without reading the file. about: their number by the file's size and the
    length of its first lines. head: the first rows, and so the types.
    """

    number: int
    path: str
    kind: str
    rows: int | None
    about: float | None
    head: pl.DataFrame

    @property
    def sliced(self) -> bool:
        """Whether any chunk can be read by itself."""
        return self.rows is not None

    @property
    def in_lines(self) -> bool:
        return self.kind == "jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """Some rows of one file, in order.

    number: the chunk's place in its file. first: its first row's. content: a plan to read the rows, the rows
    themselves, or lines of JSON. schema: how the file's columns are read.
    """

    file: int
    number: int
    path: str
    first: int
    content: pl.LazyFrame | pl.DataFrame | list[bytes]
    schema: Schema


def find(given: Sequence[str]) -> list[str]:
    """Every file that the given files, folders, globs and URLs mean, each once, in that order, by absolute paths.

    Raises:
        SourceError: nothing is there, it is empty, or it is a Delta table.
    """
    found: list[str] = []
    for path in given:
        if (Path(path) / "_delta_log").is_dir():
            raise SourceError(
                "Bulk scoring reads Parquet, Arrow, CSV and JSON Lines files",
                observed=f"{path} is a Delta table: its folder may hold rows that were deleted",
                remedy="write its present rows to Parquet first: polars.scan_delta(…).sink_parquet(…)",
            )
        with _named(path):
            found += [file if "://" in file else str(Path(file).absolute()) for file in files._files(path)]
    return list(dict.fromkeys(found))


def fingerprint(path: str) -> dict[str, Any]:
    """What changes when the file does: size and time of change, or an object store's tag."""
    filesystem, place = fsspec.core.url_to_fs(path)
    about = filesystem.info(place)
    changed = next(
        (about[key] for key in ("mtime", "LastModified", "last_modified", "ETag", "etag") if key in about), None
    )
    if isinstance(changed, int | float):
        changed = datetime.fromtimestamp(changed, UTC).isoformat()
    return {"path": path, "bytes": about.get("size"), "changed": None if changed is None else str(changed)}


def look(path: str, number: int) -> File:
    """Open a file far enough to know its columns.

    Raises:
        SourceError: it is not what its ending says.
    """
    with _named(path):
        kind = files._format(path, "auto")
        if kind == "jsonl" and _is_array(path):
            kind = "json"
        if kind == "jsonl":
            with _opened(path) as stream:
                head, _, _ = lines.parse([line for line in islice(stream, HEAD) if line.strip()], 0)
            head = in_folders(head.lazy(), path).collect() if head.width else head
            return File(number=number, path=path, kind=kind, rows=None, about=_about(path), head=head)
        frame = _scan(path, kind)
        sliced = kind == "parquet" or (kind == "arrow" and _is_random_access(path))
        rows = int(collect(frame.select(pl.len())).item()) if sliced else None
        about = _about(path) if rows is None else float(rows)
        return File(number=number, path=path, kind=kind, rows=rows, about=about, head=collect(frame.head(HEAD)))


def _scan(path: str, kind: str) -> pl.LazyFrame:
    """As training reads it. Some files are held in memory whole from here on: see `_delimited` and `files`."""
    return in_folders(files.SCANS["jsonl" if kind == "json" else kind](path, files.Options()), path)


def in_folders(frame: pl.LazyFrame, path: str) -> pl.LazyFrame:
    """The file's rows with the columns that stand in the names of its folders."""
    return _partitions.add(frame, _partitions.columns([path])[0])


def chunks(file: File, columns: Sequence[str], schema: Schema, rows: int, start: int) -> Iterator[Chunk]:
    """The file's chunks of `rows` rows from number `start` on; of a file without rows, one without rows.

    Raises:
        SourceError: the file fails while it is being read.
    """
    for number, content in enumerate(_contents(file, columns, schema, rows, start), start):
        yield Chunk(
            file=file.number, number=number, path=file.path, first=number * rows, content=content, schema=schema
        )


def _contents(
    file: File, columns: Sequence[str], schema: Schema, rows: int, start: int
) -> Iterator[pl.LazyFrame | pl.DataFrame | list[bytes]]:
    if file.in_lines:
        yield from _in_lines(file.path, rows, start)
        return
    with _named(file.path):
        frame = made_moments.of_schema(_scan(file.path, file.kind), schema.columns).select(columns)
        if file.rows is not None:
            yield from (frame.slice(first, rows) for first in range(start * rows, max(file.rows, 1), rows))
            return
        gathered: list[pl.DataFrame] = []
        for batch in frame.slice(start * rows).collect_batches(chunk_size=rows):
            gathered.append(batch)
            while sum(map(len, gathered)) >= rows:
                table = pl.concat(gathered)
                yield table[:rows]
                gathered = [table[rows:]] if table.height > rows else []
        if gathered or start == 0:
            yield pl.concat(gathered) if gathered else collect(frame.clear())


def _in_lines(path: str, rows: int, start: int) -> Iterator[list[bytes]]:
    with _named(path), _opened(path) as stream:
        records = (line for line in stream if line.strip())
        for _ in islice(records, start * rows):
            pass
        first = list(islice(records, rows))
        if first or start == 0:
            yield first
        while batch := list(islice(records, rows)):
            yield batch


def _about(path: str) -> float | None:
    if "://" in path or path.endswith(files.COMPRESSED):
        return None
    with Path(path).open("rb") as stream:
        beginning = stream.read(2**20)
    return Path(path).stat().st_size / max(len(beginning), 1) * beginning.count(b"\n")


@contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    with fsspec.open(path, "rb", compression="infer") as stream:
        yield stream


def _is_array(path: str) -> bool:
    """One JSON list of records, which is read at once; only a local plain file is looked into, as in training."""
    if "://" in path or path.endswith(files.COMPRESSED):
        return False
    with Path(path).open("rb") as stream:
        return stream.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")


def _is_random_access(path: str) -> bool:
    if "://" in path:
        return True
    with Path(path).open("rb") as stream:
        return stream.read(6) == b"ARROW1"


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Errors name the file, and what is said here instead of in the settings of training."""
    try:
        with without_panic_text(), reworded(path, _WORDS):
            yield
    except FAILURES as error:
        reported = unreadable(error, path)
        remedy = "check that the file is whole"
        if "data." not in reported.remedy:
            remedy = reported.remedy
        raise SourceError(reported.rule, observed=reported.observed, remedy=remedy) from error
