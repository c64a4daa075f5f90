"""CSV as it is found in the wild: every value is read as text, what it means is inferred over whole columns later.

Separator, byte-order mark and encoding are found by looking. Names lose the white space around them; values do when
they are read (`data/cells/values.py`), as those of every other format.
"""

import io
import logging
from collections import Counter
from dataclasses import dataclass, replace
from typing import Annotated

import polars as pl

from tidemill.composition import Rule
from tidemill.data.sources import _mending
from tidemill.data.sources._stored import HEAD, head_of, lines_of, look, text_of
from tidemill.errors import SourceError, listed
from tidemill.settings import NotNegative

SEPARATORS = ",;\t|"
_Separator = Rule(
    "one character that stands between values, like ; or |",
    lambda value: len(value) == 1 and value.isascii() and not value.isalnum() and value not in "\"'\r\n",
)
_ROWS = "rows\0"

LOG = logging.getLogger(__name__)


def _is_encoding(name: str) -> bool:
    try:
        "".encode(name)
    except (LookupError, ValueError):
        return False
    return True


_Encoding = Rule("a text encoding, for example utf-8, latin-1, cp1252 or utf-16", _is_encoding)


@dataclass(kw_only=True)
class Options:
    """Of CSV; what is not set is found out."""

    separator: Annotated[str, _Separator] | None = None
    encoding: Annotated[str, _Encoding] | None = None
    columns: list[str] | None = None
    """The names of all columns, where the file has no header line."""
    skip_lines: Annotated[int, NotNegative] = 0
    """Lines above the header line."""


def scan(file: str, options: Options) -> pl.LazyFrame:
    """A lazy frame of text columns.

    A local file is read through once before: what Polars would not read is named by its line, or mended in memory.

    Raises:
        SourceError: not text, no header line, names that are empty or there twice, lines that do not fit.
    """
    found = look(file, options.encoding)
    content = None
    if found.encoding not in ("utf-8", "utf8", "utf-8-sig") or found.blank_lines or found.old_line_ends:
        content = text_of(file, found)
    head = head_of(file) if content is None else content[: max(HEAD, content.find("\n") + 1)]
    form, header = _settled(file, head, options)
    frame = _scanned(file, form)
    if content is not None:
        content = _mending.below(content, form.skipped)
        if found.blank_lines and len(header) > 1:  # in a table of one column they are missing values
            content = _mending.without_blank_lines(file, content)
        frame = _scanned(io.BytesIO(content.encode()), replace(form, skipped=0))
    if found.here and form not in found.passed:
        try:
            counts = frame.select(pl.all().count(), pl.len().alias(_ROWS)).collect().row(0)
        except pl.exceptions.PolarsError:
            width = frame.collect_schema().len()
            content = _mending.rewritten(file, text_of(file, found), form.separator, form.skipped, width)
            frame = _scanned(io.BytesIO(content.encode()), replace(form, skipped=0))
        else:
            found.passed.append(form)
            if len(counts) > 2 and counts[-2] < counts[-1]:  # a line that is too short lacks the last value at least
                short = _mending.short_lines(lines_of(file, found), form.separator, len(counts) - 1, form.skipped)
                _mending.report_short(file, *short, width=len(counts) - 1)
    names = frame.collect_schema().names()
    # Polars leaves a doubled quotation mark doubled in a name
    written = header if form.names is None and len(header) == len(names) else names
    return frame.rename({name: one.strip() for name, one in zip(names, written, strict=True) if name != one.strip()})


@dataclass(frozen=True, kw_only=True, slots=True)
class _Form:
    separator: str
    skipped: int
    """Lines above the header."""
    names: list[str] | None


def _settled(file: str, head: str, options: Options) -> tuple[_Form, list[str]]:
    """How the table is read, by its options and by its first lines; and the first record."""
    skipped, names = options.skip_lines, options.columns
    head = _mending.below(head, skipped)
    named = _mending.separator_line(head)
    if named is not None:
        skipped, head = skipped + 1, _mending.below(head, 1)
    separator = options.separator or named or _separator(head)
    if names is None:
        _check_header(file, head, separator, skipped)
    header = _records(head, separator)[0]
    if names is not None and len(names) != len(header):
        raise SourceError(
            "data.options.columns must name every column",
            observed=f"{len(names)} names for {len(header)} columns of {file}",
            remedy="add or remove names",
        )
    return _Form(separator=separator, skipped=skipped, names=names), header


def _scanned(source: str | io.BytesIO, form: _Form) -> pl.LazyFrame:
    return pl.scan_csv(
        source,
        separator=form.separator,
        skip_lines=form.skipped,
        infer_schema=False,
        has_header=form.names is None,
        new_columns=form.names,
        glob=False,
    )


def _separator(head: str) -> str:
    """The separator that cuts the most lines into as many fields as the first line has; a comma where none does."""

    def score(separator: str) -> tuple[float, int]:
        widths = [len(record) for record in _records(head, separator)] or [0]
        return (round(widths.count(widths[0]) / len(widths), 1), widths[0]) if widths[0] > 1 else (0.0, 1)

    return max(SEPARATORS, key=score)


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
