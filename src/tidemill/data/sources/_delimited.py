"""CSV as it is found in the wild: every value is read as text, what it means is inferred over whole columns later.

Separator, byte-order mark and encoding are found by looking. Names lose the white space around them; values do when
they are read (`data/values.py`), as those of every other format.
"""

import codecs
import gzip
import io
import logging
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import IO, cast

import fsspec
import polars as pl

from tidemill.data.sources import _mending
from tidemill.errors import SourceError, listed
from tidemill.settings import DataSettings

SEPARATORS = ",;\t|"
HEAD = 1 << 16
BINARY = {b"PAR1": "Parquet", b"PK\x03\x04": "a ZIP or Excel file", b"ARROW1": "Arrow", b"\xd0\xcf\x11\xe0": "Excel"}

logger = logging.getLogger(__name__)


def scan(file: str, settings: DataSettings) -> pl.LazyFrame:
    """A lazy frame of text columns.

    A local file is read through once before: what Polars would not read is named by its line, or mended in memory.

    Raises:
        SourceError: not text, no header line, names that are empty or there twice, lines that do not fit.
    """
    found = _look(file, settings.options.get("encoding"))
    content = None
    if found.encoding not in ("utf-8", "utf8", "utf-8-sig") or found.blank_lines or found.old_line_ends:
        content = _text(file, found)
    head = _head(file) if content is None else content[: max(HEAD, content.find("\n") + 1)]
    options, header = _settled(file, head, settings)
    frame = _scanned(file, options)
    if content is not None:
        content = _mending.below(content, options.skipped)
        if found.blank_lines and len(header) > 1:  # in a table of one column they are missing values
            content = _mending.without_blank_lines(file, content)
        frame = _scanned(io.BytesIO(content.encode()), replace(options, skipped=0))
    if found.here and options not in found.passed:
        try:
            frame.select(pl.all().count()).collect()
        except pl.exceptions.PolarsError:
            width = frame.collect_schema().len()
            content = _mending.rewritten(file, _text(file, found), options.separator, options.skipped, width)
            frame = _scanned(io.BytesIO(content.encode()), replace(options, skipped=0))
        else:
            found.passed.append(options)
    if options.names is None and len(header) == frame.collect_schema().len():
        # Polars leaves a doubled quotation mark doubled in a name
        frame = frame.rename(dict(zip(frame.collect_schema().names(), header, strict=True)))
    names = frame.collect_schema().names()
    stripped = {name: name.strip() for name in names if name.strip() != name}
    return frame.rename(stripped)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Options:
    separator: str
    skipped: int
    """Lines above the header."""
    names: list[str] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """What a look through a whole file found.

    here: whether it could be looked through. passed: options with which Polars read it to its end.
    """

    encoding: str
    here: bool = False
    blank_lines: bool = False
    old_line_ends: bool = False
    passed: list[_Options] = field(default_factory=list)


def _settled(file: str, head: str, settings: DataSettings) -> tuple[_Options, list[str]]:
    """How the table is read, by the settings and by its first lines; and the first record."""
    skipped = settings.options.get("skip_lines", 0)
    if not isinstance(skipped, int) or isinstance(skipped, bool) or skipped < 0:
        raise SourceError(
            "data.options.skip_lines must be a whole number of lines",
            observed=repr(skipped),
            remedy="for example data.options.skip_lines=3",
        )
    head = _mending.below(head, skipped)
    named = _mending.separator_line(head)
    if named is not None:
        skipped, head = skipped + 1, _mending.below(head, 1)
    separator = settings.options.get("separator") or named or _separator(head)
    if not isinstance(separator, str) or len(separator) != 1:
        raise SourceError(
            "data.options.separator must be one character", observed=repr(separator), remedy="for example ';'"
        )
    names = settings.options.get("columns")
    if names is None:
        _check_header(file, head, separator, skipped)
    header = _records(head, separator)[0]
    if names is not None and len(names) != len(header):
        raise SourceError(
            "data.options.columns must name every column",
            observed=f"{len(names)} names for {len(header)} columns of {file}",
            remedy="add or remove names",
        )
    names = None if names is None else list(map(str, names))
    return _Options(separator=separator, skipped=skipped, names=names), header


def _scanned(source: str | io.BytesIO, options: _Options) -> pl.LazyFrame:
    return pl.scan_csv(
        source,
        separator=options.separator,
        skip_lines=options.skipped,
        infer_schema=False,
        has_header=options.names is None,
        new_columns=options.names,
        glob=False,
    )


def _look(file: str, encoding: str | None) -> _Found:
    """Of a file that did not change since, what was found then."""
    if not _readable_here(file):
        return _Found(encoding=encoding or "utf-8")
    state = Path(file).stat()
    return _looked_through(file, encoding, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=256)
def _looked_through(file: str, encoding: str | None, size: int, changed: int) -> _Found:
    """Encoding: by byte-order mark, else UTF-8 where every byte fits it, else Windows' Latin-1 (cp1252).

    Only local files are looked through; for others Polars reports a byte that is not UTF-8.
    """
    feeds = returns = 0
    blank = False
    with _open(file) as stream:
        block = stream.read(HEAD)
        for magic, kind in BINARY.items():
            if block.startswith(magic):
                raise _not_text(file, kind)
        if encoding is None and block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            encoding = "utf-16"
        if encoding is None and b"\0" in block:
            raise _not_text(file, "binary data")
        if encoding not in (None, "utf-8", "utf8", "utf-8-sig"):
            return _Found(encoding=encoding, here=True, blank_lines=True)  # decoded in memory anyway
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
                raise SourceError(
                    f"Every byte of the table must be {encoding}",
                    observed=f"{file}: {error.reason} (byte 0x{error.object[error.start]:02x})",
                    remedy="correct data.options.encoding",
                ) from error
            logger.warning(
                "%s is not UTF-8 (byte 0x%02x); it is read as Latin-1 (cp1252). "
                "If letters look wrong, set data.options.encoding.",
                file,
                error.object[error.start],
            )
            return _Found(encoding="cp1252", here=True, blank_lines=True)
    return _Found(encoding="utf-8", here=True, blank_lines=blank, old_line_ends=returns > 0 and feeds == 0)


def _readable_here(file: str) -> bool:
    return "://" not in file and not file.endswith(".zst")


def _open(file: str) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(file, "rb")) if file.endswith(".gz") else Path(file).open("rb")


def _text(file: str, found: _Found) -> str:
    with fsspec.open(file, "rb", compression="infer") as stream:
        content = stream.read()
    try:
        text: str = content.decode(found.encoding)
    except LookupError as error:
        raise SourceError(
            "data.options.encoding must be a text encoding",
            observed=repr(found.encoding),
            remedy="for example utf-8, latin-1, cp1252 or utf-16",
        ) from error
    except UnicodeDecodeError as error:
        if found.encoding != "cp1252":
            raise SourceError(
                f"Every byte of the table must be {found.encoding}",
                observed=f"{file}: {error.reason} at byte {error.start}",
                remedy="correct data.options.encoding",
            ) from error
        text = content.decode("latin-1")  # cp1252 leaves five bytes undefined
    text = text.removeprefix("\ufeff")
    return text.replace("\r", "\n") if found.old_line_ends else text


def _head(file: str) -> str:
    if _readable_here(file):
        with _open(file) as stream:
            head = stream.read(HEAD)
            while b"\n" not in head and (more := stream.read(HEAD)):  # thousands of names
                head += more
    else:  # Polars fetches the first lines only; no separator, no quotes: one column of whole lines
        lines = pl.scan_csv(
            file, separator="\x1f", quote_char=None, has_header=False, infer_schema=False, n_rows=100, glob=False
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
    return [record for _, record in _numbered(head, separator)]


def _numbered(head: str, separator: str) -> list[tuple[int, list[str]]]:
    records = list(_mending.numbered(head, separator))
    return records[:-1] if len(records) > 1 and len(head) >= HEAD // 4 else records


def _check_header(file: str, head: str, separator: str, skipped: int) -> None:
    lines = head.split("\n")
    for one in dict.fromkeys([separator, *SEPARATORS]):
        if line := _mending.preamble(_numbered(head, one)):
            raise SourceError(
                "A CSV file must begin with its header line",
                observed=f"{file} begins with {_mending.shown(lines[0])}; "
                f"the table seems to begin in line {line + skipped}: {_mending.shown(lines[line - 1])}",
                remedy=f"set data.options.skip_lines={line + skipped - 1}, or remove the lines above",
            )
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
    remedy = "set data.format to what it is, or save the table as CSV"
    if "ZIP" in kind:
        remedy = "unzip it, or save the sheet as CSV, then name that file"
    return SourceError("A CSV file must be text", observed=f"{file} is {kind}", remedy=remedy)
