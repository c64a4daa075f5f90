"""JSON and JSON Lines: what is wrong with a text that is none, by its line."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from tidemill.data.sources._mending import shown
from tidemill.data.sources._stored import open_bytes, readable_here
from tidemill.errors import SourceError

_NUMBERS = {"NaN": "null", "Infinity": "null, or the largest number", "-Infinity": "null, or the smallest number"}


def fault(line: bytes) -> str | None:
    """Why a line is no JSON object; None where it is one."""
    try:
        content = json.loads(line, parse_constant=_refuse)
    except UnicodeDecodeError:
        return "is not UTF-8"
    except json.JSONDecodeError as error:
        if error.pos >= len(error.doc.rstrip()):
            return "ends before its record does"
        return f"{error.msg} at character {error.pos + 1}"
    except (ValueError, RecursionError) as error:
        return str(error)
    return None if isinstance(content, dict) else "is JSON, but no object of column: value"


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON number; write {_NUMBERS[name]}")


@contextmanager
def faults_named(file: str) -> Iterator[None]:
    """Errors of Polars on a local file of JSON Lines name the line that is none, and why.

    Raises:
        SourceError: there is such a line.
    """
    try:
        yield
    except pl.exceptions.PolarsError:
        if not readable_here(file):
            raise
        with open_bytes(file) as lines:
            for number, line in enumerate(lines, 1):
                line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if line.strip() and (reason := fault(line)) is not None:
                    raise SourceError(
                        "Each line of a JSON Lines file must be one JSON object",
                        observed=f"line {number} of {file}: {reason}: {shown(line.decode(errors='replace'))}",
                        remedy=_remedy(number, line),
                    ) from None
        raise


def _remedy(number: int, line: bytes) -> str:
    if b"NaN" in line or b"Infinity" in line:
        return (
            f"mend line {number} and others like it, or write the file again: "
            'pandas\' to_json(path, orient="records", lines=True) writes null'
        )
    if number == 1 and line.strip() in (b"{", b"["):
        return "write each record on a line of its own, or all of them as one list [ … ] in a .json file"
    return f"mend or remove line {number}; if it is the last one, the file was cut short: copy it again"


def array(file: str) -> pl.DataFrame:
    """The records of a file that holds one JSON list.

    Raises:
        SourceError: it is no JSON; the line and column in which that shows.
    """
    try:
        return pl.read_json(file, infer_schema_length=None)
    except pl.exceptions.PolarsError:
        try:
            json.loads(Path(file).read_bytes(), parse_constant=_refuse)
        except ValueError as error:
            raise SourceError(
                "A JSON file must hold one list of objects of column: value",
                observed=f"{file}: {str(error)[:200]}",
                remedy="mend it there; if that is its end, the file was cut short: copy it again",
            ) from None
        raise
