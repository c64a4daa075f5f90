"""What a text table may have wrong, found in its lines: where a person must mend it, and what is mended in memory."""

import csv
import io
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice

from tidemill.errors import SourceError

SHOWN = 80
"""Characters of a line in a message."""

LINES = 5
"""Numbers of lines in a message."""

_STRAY = re.compile(r'[^,;\t|\r\n"]"')

LOG = logging.getLogger(__name__)


def shown(text: str) -> str:
    """Part of a line, as it may stand in a message."""
    text = text.strip("\r\n")
    return repr(text if len(text) <= SHOWN else text[: SHOWN - 3] + "...")


def below(text: str, lines: int) -> str:
    """The text without its first lines."""
    parts = text.split("\n", lines)
    return parts[lines] if len(parts) > lines else ""


def separator_line(head: str) -> str | None:
    """The separator that Excel's first line `sep=;` names; None where there is no such line."""
    found = re.match(r'"?sep=(.)"?\r?\n', head)
    return found[1] if found else None


def preamble(records: list[tuple[int, list[str]]]) -> int | None:
    """The line in which the table seems to begin, where other lines stand above its header; None: the first.

    Args:
        records: number of the line that a record begins in, and its fields.
    """
    if len(records) < 4:
        return None
    width = Counter(len(fields) for _, fields in records[len(records) // 2 :]).most_common(1)[0][0]
    first = len(records[0][1])
    if width < 2 or first >= width:
        return None
    line, header = next((line, fields) for line, fields in records if len(fields) == width)
    names = [name.strip() for name in header]
    is_header = all(names) and len(set(names)) == width and not any(re.fullmatch(r"[-+\d.,\s%]+", n) for n in names)
    return line if is_header else None


def numbered(text: str, separator: str, *, strict: bool = False, above: int = 0) -> Iterator[tuple[int, list[str]]]:
    """Records with the number of the line in which each begins, counted from 1; blank lines are none.

    Args:
        above: lines that stand above the text.

    Raises:
        SourceError: with `strict`, quotes that do not fit: the line, and what is wrong with it.
    """
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=strict)
    begins = 1
    try:
        for record in lines:
            if record:
                yield begins + above, record
            begins = lines.line_num + 1
    except csv.Error as error:
        line, begins = below(text, begins - 1).split("\n")[0], begins + above
        cause = "a quotation mark opens a value and is never closed" if "unexpected end" in str(error) else (
            "a quoted value goes on behind its closing quotation mark"
        )  # fmt: skip
        raise SourceError(
            "Quotation marks in a CSV file open and close a whole value; one inside a quoted value is written twice",
            observed=f"the record that begins in line {begins}: {cause}: {shown(line)}",
            remedy=f'mend line {begins}: take the quotation mark out, or write the value as "5"" pipe"',
        ) from error


def rewritten(file: str, text: str, separator: str, above: int, width: int) -> str:
    """The table written anew with every quotation mark where it belongs, for one that Polars does not read.

    Args:
        above: lines that are no part of the table. width: the number of columns.

    Raises:
        SourceError: quotes that do not fit, or a line with more fields than there are columns, with its number.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=separator, lineterminator="\n")
    text = below(text, above)
    short = []
    for line, record in numbered(text, separator, strict=True, above=above):
        if len(record) > width:
            raise SourceError(
                "A line must not have more fields than the table has columns",
                observed=f"line {line} of {file} has {len(record)} fields, the first line {width}: "
                + shown(separator.join(record)),
                remedy="mend the line (a value that holds the separator is put in quotation marks), "
                "or set data.options.separator",
            )
        if len(record) < width:
            short.append(line)
        writer.writerow(record + [""] * (width - len(record)))
    report_short(file, len(short), short, width)
    if found := _STRAY.search(text):
        line = text.count("\n", 0, found.start() + 1)
        LOG.warning(
            "%s has quotation marks inside values that are not quoted, first in line %s (%s); "
            "they are read as they stand.",
            file,
            above + line + 1,
            shown(below(text, line).split("\n")[0]),
        )
    return out.getvalue()


def short_lines(lines: Iterable[str], separator: str, width: int, above: int) -> tuple[int, list[int]]:
    """How many records have fewer fields than the table has columns, and the lines in which the first ones begin.

    Args:
        lines: of the file, from its first on. above: lines that are no part of the table.
    """
    rest = islice(lines, above, None)
    count, first, number = 0, [], above
    for line in rest:
        begins = number = number + 1
        if '"' not in line:
            short = line.count(separator) < width - 1 and not line.isspace()
        else:
            records = csv.reader(chain([line], rest), delimiter=separator)
            try:
                short = len(next(records)) < width
            except csv.Error:  # longer than Python's reader takes, say: Polars has read it
                short = False
            number += records.line_num - 1
        if short:
            count += 1
            if count <= LINES:
                first.append(begins)
    return count, first


def report_short(file: str, count: int, first: list[int], width: int) -> None:
    """Say that fields are taken as missing because their lines end before them."""
    if not count:
        return
    lines = ", ".join(map(str, first[:LINES])) + (" …" if count > LINES else "")
    LOG.warning(
        "%s has fewer fields than its %s columns in %s (%s); the fields that are not there are read as missing. "
        "If values were lost, mend these lines, or copy the file again where it ends too early.",
        file,
        width,
        f"{count:,} lines" if count > 1 else "one line",
        f"line{'' if count == 1 else 's'} {lines}",
    )


def without_blank_lines(file: str, text: str) -> str:
    """The text without lines that hold nothing, but for those inside quoted values."""
    parts = text.split('"')
    for index in range(0, len(parts), 2):
        parts[index] = re.sub(r"(\r?\n)(?:\r?\n)+", r"\1", parts[index])
    mended = '"'.join(parts)
    if skipped := text.count("\n") - mended.count("\n"):
        LOG.info("%s has %s blank lines, which are skipped", file, f"{skipped:,}")
    return mended
