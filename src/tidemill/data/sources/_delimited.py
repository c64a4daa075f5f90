"""CSV as it is found in the wild: every value is read as text, what it means is inferred over whole columns later.

Separator, byte-order mark and encoding are found by looking; values lose the white space around them.
"""

import codecs
import csv
import gzip
import io
import logging
from collections import Counter
from pathlib import Path
from typing import IO, cast

import fsspec
import polars as pl

from tidemill.errors import SourceError, listed
from tidemill.settings import DataSettings

SEPARATORS = ",;\t|"
HEAD = 1 << 16
BINARY = {b"PAR1": "Parquet", b"PK\x03\x04": "a ZIP or Excel file", b"ARROW1": "Arrow", b"\xd0\xcf\x11\xe0": "Excel"}

logger = logging.getLogger(__name__)


def scan(file: str, settings: DataSettings) -> pl.LazyFrame:
    """A lazy frame of text columns.

    Raises:
        SourceError: not text, no header line, or names that are empty or there twice.
    """
    encoding = settings.options.get("encoding") or _encoding(file)
    source: str | io.BytesIO = file
    if encoding not in ("utf-8", "utf8", "utf-8-sig"):
        source = _as_utf8(file, encoding)
    head = _head(source)
    separator = settings.options.get("separator") or _separator(head)
    if not isinstance(separator, str) or len(separator) != 1:
        raise SourceError(
            "data.options.separator must be one character", observed=repr(separator), remedy="for example ';'"
        )
    names = settings.options.get("columns")
    if names is None:
        _check_header(file, head, separator)
    elif len(names) != len(_records(head, separator)[0]):
        raise SourceError(
            "data.options.columns must name every column",
            observed=f"{len(names)} names for {len(_records(head, separator)[0])} columns of {file}",
            remedy="add or remove names",
        )
    frame = pl.scan_csv(
        source,
        separator=separator,
        infer_schema=False,
        has_header=names is None,
        new_columns=None if names is None else [str(name) for name in names],
        glob=False,
    )
    names = frame.collect_schema().names()
    stripped = {name: name.strip() for name in names if name.strip() != name}
    text = pl.all().str.strip_chars()
    return frame.select(pl.when(text != "").then(text)).rename(stripped)


def _encoding(file: str) -> str:
    """By byte-order mark, else UTF-8 where every byte fits it, else Windows' Latin-1 (cp1252).

    Only local files are looked through; for others Polars reports a byte that is not UTF-8.
    """
    if not _readable_here(file):
        return "utf-8"
    with _open(file) as stream:
        block = stream.read(HEAD)
        for magic, kind in BINARY.items():
            if block.startswith(magic):
                raise _not_text(file, kind)
        if block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        if b"\0" in block:
            raise _not_text(file, "binary data")
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            while block:
                decoder.decode(block)
                block = stream.read(1 << 22)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            logger.warning(
                "%s is not UTF-8 (byte 0x%02x); it is read as Latin-1 (cp1252). "
                "If letters look wrong, set data.options.encoding.",
                file,
                error.object[error.start],
            )
            return "cp1252"
    return "utf-8"


def _readable_here(file: str) -> bool:
    return "://" not in file and not file.endswith(".zst")


def _open(file: str) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(file, "rb")) if file.endswith(".gz") else Path(file).open("rb")


def _as_utf8(file: str, encoding: str) -> io.BytesIO:
    with fsspec.open(file, "rb", compression="infer") as stream:
        content = stream.read()
    try:
        text = content.decode(encoding)
    except LookupError as error:
        raise SourceError(
            "data.options.encoding must be a text encoding",
            observed=repr(encoding),
            remedy="for example utf-8, latin-1, cp1252 or utf-16",
        ) from error
    except UnicodeDecodeError as error:
        if encoding != "cp1252":
            raise SourceError(
                f"Every byte of the table must be {encoding}",
                observed=f"{file}: {error.reason} at byte {error.start}",
                remedy="correct data.options.encoding",
            ) from error
        text = content.decode("latin-1")  # cp1252 leaves five bytes undefined
    return io.BytesIO(text.encode())


def _head(source: str | io.BytesIO) -> str:
    if isinstance(source, io.BytesIO):
        head = source.getvalue()[:HEAD]
    elif _readable_here(source):
        with _open(source) as stream:
            head = stream.read(HEAD)
    else:  # Polars fetches the first lines only; no separator, no quotes: one column of whole lines
        lines = pl.scan_csv(
            source, separator="\x1f", quote_char=None, has_header=False, infer_schema=False, n_rows=100, glob=False
        )
        head = "\n".join(line or "" for line in lines.collect().to_series()).encode()
    return head.decode("utf-8", errors="ignore").removeprefix("\ufeff")


def _separator(head: str) -> str:
    """The separator that cuts the most lines into as many fields as the first line has; a comma where none does."""
    best, best_score = ",", (0.0, 1)
    for separator in SEPARATORS:
        records = _records(head, separator)
        if not records or len(records[0]) < 2:
            continue
        fitting = sum(len(record) == len(records[0]) for record in records) / len(records)
        score = (round(fitting, 1), len(records[0]))
        if score > best_score:
            best, best_score = separator, score
    return best


def _records(head: str, separator: str) -> list[list[str]]:
    """Whole records of the head: quotes may hold line breaks, and the last record may be cut off."""
    records = [record for record in csv.reader(io.StringIO(head, newline=""), delimiter=separator) if record]
    return records[:-1] if len(records) > 1 and len(head) >= HEAD // 4 else records


def _check_header(file: str, head: str, separator: str) -> None:
    names = [name.strip() for name in next(iter(_records(head, separator)), [])]
    if not any(names):
        raise SourceError(
            "A CSV file must have a header line", observed=f"{file} begins with none", remedy="add one, or its rows"
        )
    remedy = "correct the first line, or set data.options.columns=[…] if the file has no header line"
    if "" in names:
        raise SourceError(
            "Every column must have a name",
            observed=f"column {names.index('') + 1} of {len(names)} in {file} has none",
            remedy=remedy + " (pandas writes no name for its index: save with index=False)",
        )
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise SourceError(
            "Columns must have different names",
            observed=f"{file} has {listed(twice, quoted=True)} more than once",
            remedy=remedy,
        )


def _not_text(file: str, kind: str) -> SourceError:
    return SourceError(
        "A CSV file must be text",
        observed=f"{file} is {kind}",
        remedy="set data.format to what it is, or save the table as CSV",
    )
