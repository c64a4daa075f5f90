"""Reading what a source has planned, and the errors of the libraries that read tables, in the shape of ours."""

import gzip
import os
import re
import sys
import tempfile
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress

import polars as pl
from polars.exceptions import PanicException

from tidemill.errors import SettingsError, SourceError


def collect(frame: pl.LazyFrame) -> pl.DataFrame:
    """Carry out what a source has only planned.

    Raises:
        SourceError: the source fails while it is being read.
    """
    with reading():
        return frame.collect()


FAILURES = (pl.exceptions.PolarsError, PanicException, OSError, EOFError, zlib.error, UnicodeError)
"""What reading a table may raise that is not ours. A panic of Polars is a BaseException, no Exception."""

_REMEDIES = {
    "found more fields": "mend the lines with too many separators, or set data.options.separator",
    "csv malformed": "a value has a quotation mark that is not closed, or a line break; put such values in quotation "
    "marks. Copied to this machine, the file is looked through and the line named",
    "utf-8": "set data.options.encoding (for example latin-1), or store the file as UTF-8",
    "utf8": "set data.options.encoding (for example latin-1), or store the file as UTF-8",
    "nested objects are not allowed": "flatten the nested columns before",
    "supertype": "give the column one type in all rows and files",
}
_CUT_SHORT = ("end-of-stream marker", "incomplete or truncated", "unexpected end of file", "corrupt deflate", "zstd",
              "incomplete frame", "src size is incorrect", "incorrect data check", "crc check failed")  # fmt: skip


@contextmanager
def reading(source: str | None = None) -> Iterator[None]:
    """Turn failures of the libraries that read tables into ours.

    Args:
        source: what is read, to be named.

    Raises:
        SourceError: something inside failed.
    """
    try:
        with without_panic_text():
            yield
    except FAILURES as error:
        raise unreadable(error, source) from error


def unreadable(error: BaseException, source: str | None = None) -> SourceError:
    """What Polars or the file system said, in the shape of our errors."""
    said = (str(error).strip().splitlines() or [type(error).__name__])[0][:500]
    where = f"{source}: " if source and source not in said else ""
    if isinstance(error, EOFError | zlib.error | gzip.BadGzipFile) or any(sign in said.lower() for sign in _CUT_SHORT):
        return SourceError(
            "A compressed file must be whole",
            observed=f"{where}it is cut short or damaged ({said})",
            remedy="copy or download it again; `gzip -t FILE` (or `zstd -t FILE`) says whether it is whole",
        )
    if isinstance(error, PanicException):
        return SourceError(
            "Polars, which reads tables here, must be able to read this one",
            observed=f"{where}it gave up: {said}",
            remedy="store the table anew with common types, for example with pandas as CSV, and read that",
        )
    remedy = next((text for sign, text in _REMEDIES.items() if sign in said.lower()), None)
    return SourceError(
        "A table must be readable to its end",
        observed=where + said,
        remedy=remedy or "check data.path and data.format, and that the file is whole",
    )


@contextmanager
def reworded(source: str, words: Mapping[str, str]) -> Iterator[None]:
    """Let errors of the sources, which speak of training's settings, name `source` and use other words.

    Raises:
        SourceError: something inside did, or a SettingsError.
    """
    try:
        yield
    except (SourceError, SettingsError) as error:
        observed = error.observed if source in error.observed else f"{source}: {error.observed}"
        rule, remedy = error.rule, error.remedy
        for word, other in words.items():
            rule, remedy = rule.replace(word, other), remedy.replace(word, other)
        raise SourceError(rule, observed=observed, remedy=remedy) from error


_STDERR = 2
_PANIC_TEXT = re.compile(rb"\n?thread '[^\n]*panicked at .*?(?:\nnote: [^\n]*(?:\n|\Z)|(?=\nthread ')|\Z)", re.DOTALL)


class _Stderr:
    """Whether the main thread is holding standard error back just now, and whether Polars has panicked meanwhile."""

    captured = panicked = False


@contextmanager
def without_panic_text() -> Iterator[None]:
    """Hide what Rust prints about a panic that ends this block; with `python -W default` it is shown.

    Rust writes each panic of Polars to standard error, with its stack, before Python knows of it, and no setting of
    Polars or of Rust turns that off. So standard error (the file descriptor: Rust knows no `sys.stderr`) is captured
    while Polars reads, and then printed without the text of a panic, which becomes an error of ours. If the process is
    killed meanwhile, what was captured is lost. It works in the main thread alone. Blocks may be nested.
    """
    if threading.current_thread() is not threading.main_thread() or sys.warnoptions:
        yield
        return
    with ExitStack() as stack:
        if not _Stderr.captured:
            with suppress(OSError):  # without a standard error, or room for a file, nothing can be captured
                _capture(stack)
        try:
            yield
        except PanicException:
            _Stderr.panicked = True
            raise


def _capture(stack: ExitStack) -> None:
    """Until `stack` is closed."""
    shown = os.dup(_STDERR)  # before a file is opened, which might get the number where there is no standard error
    stack.callback(os.close, shown)
    captured = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 — the stack closes it
    _flush()
    os.dup2(captured.fileno(), _STDERR)
    _Stderr.captured, _Stderr.panicked = True, False

    def show() -> None:
        _flush()
        os.dup2(shown, _STDERR)
        _Stderr.captured = False
        captured.seek(0)
        text = captured.read()
        with suppress(OSError):  # whoever read it is gone
            os.write(shown, _PANIC_TEXT.sub(b"", text) if _Stderr.panicked else text)

    stack.callback(show)


def _flush() -> None:
    with suppress(OSError, ValueError, AttributeError):  # it is None where a program has no console
        sys.stderr.flush()
