"""How a text file is stored: compression, encoding and line ends, found by looking; and its text."""

import codecs
import gzip
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO, cast

import fsspec
import polars as pl

from tidemill.errors import SourceError

HEAD = 1 << 16
BINARY = {b"PAR1": "Parquet", b"PK\x03\x04": "a ZIP or Excel file", b"ARROW1": "Arrow", b"\xd0\xcf\x11\xe0": "Excel"}

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What a look through a whole file found.

    here: whether it could be looked through. passed: options with which Polars read it to its end.
    """

    encoding: str
    here: bool = False
    blank_lines: bool = False
    old_line_ends: bool = False
    passed: list[object] = field(default_factory=list)


def look(file: str, encoding: str | None) -> Found:
    """Of a file that did not change since, what was found then."""
    if not readable_here(file):
        return Found(encoding=encoding or "utf-8")
    state = Path(file).stat()
    return _looked_through(file, encoding, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=256)
def _looked_through(file: str, encoding: str | None, size: int, changed: int) -> Found:
    """Encoding: by byte-order mark, else UTF-8 where every byte fits it, else Windows' Latin-1 (cp1252).

    Only local files are looked through; for others Polars reports a byte that is not UTF-8.
    """
    feeds = returns = 0
    blank = False
    with open_bytes(file) as stream:
        block = stream.read(HEAD)
        for magic, kind in BINARY.items():
            if block.startswith(magic):
                raise _not_text(file, kind)
        if encoding is None and block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            encoding = "utf-16"
        if encoding is None and b"\0" in block:
            raise _not_text(file, "binary data")
        if encoding not in (None, "utf-8", "utf8", "utf-8-sig"):
            return Found(encoding=encoding, here=True, blank_lines=True)  # decoded in memory anyway
        decoder = codecs.getincrementaldecoder("utf-8")()
        last = b""
        try:
            while block:
                decoder.decode(block)
                joint = last + block
                blank = blank or b"\n\n" in joint or b"\n\r\n" in joint
                feeds, returns = feeds + block.count(b"\n"), returns + block.count(b"\r")
                last, block = block[-2:], stream.read(1 << 22)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            if encoding is not None:
                raise _not_encoded(file, encoding, error) from error
            LOG.warning(
                "%s is not UTF-8 (byte 0x%02x); it is read as Latin-1 (cp1252). "
                "If letters look wrong, set data.options.encoding.",
                file,
                error.object[error.start],
            )
            return Found(encoding="cp1252", here=True, blank_lines=True)
    return Found(encoding="utf-8", here=True, blank_lines=blank, old_line_ends=returns > 0 and feeds == 0)


def readable_here(file: str) -> bool:
    return "://" not in file and not file.endswith(".zst")


def open_bytes(file: str) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(file, "rb")) if file.endswith(".gz") else Path(file).open("rb")


def text_of(file: str, found: Found) -> str:
    with fsspec.open(file, "rb", compression="infer") as stream:
        content = stream.read()
    try:
        text: str = content.decode(found.encoding)
    except UnicodeDecodeError as error:
        if found.encoding != "cp1252":
            raise _not_encoded(file, found.encoding, error) from error
        text = content.decode("latin-1")  # cp1252 leaves five bytes undefined
    text = text.removeprefix("\ufeff")
    return text.replace("\r", "\n") if found.old_line_ends else text


def lines_of(file: str, found: Found) -> Iterator[str]:
    """The lines of a file that lies on this machine."""
    if found.encoding != "utf-8" or found.old_line_ends:
        yield from io.StringIO(text_of(file, found), newline="\n")
        return
    with io.TextIOWrapper(open_bytes(file), "utf-8-sig", newline="\n") as text:
        yield from text


def head_of(file: str) -> str:
    if readable_here(file):
        with open_bytes(file) as stream:
            head = stream.read(HEAD)
            while b"\n" not in head and (more := stream.read(HEAD)):  # thousands of names
                head += more
    else:  # Polars fetches the first lines only; no separator, no quotes: one column of whole lines
        lines = pl.scan_csv(
            file, separator="\x1f", quote_char=None, has_header=False, infer_schema=False, n_rows=100, glob=False
        )
        head = "\n".join(line or "" for line in lines.collect().to_series()).encode()
    return head.decode("utf-8", errors="ignore").removeprefix("\ufeff")


def _not_encoded(file: str, encoding: str, error: UnicodeDecodeError) -> SourceError:
    return SourceError(
        f"Every byte of the table must be {encoding}",
        observed=f"{file}: {error.reason} (byte 0x{error.object[error.start]:02x})",
        remedy="correct data.options.encoding",
    )


def _not_text(file: str, kind: str) -> SourceError:
    remedy = "set data.format to what it is, or save the table as CSV"
    if "ZIP" in kind:
        remedy = "unzip it, or save the sheet as CSV, then name that file"
    return SourceError("A CSV file must be text", observed=f"{file} is {kind}", remedy=remedy)
