"""Where tables come from. Every module here with `read(settings) -> pl.LazyFrame` is a source.

To add one: a module `tidemill/data/sources/<name>.py`, or one of your own by its dotted name. A source whose labels
become known later than its records may say when: `labelled_at(settings) -> pl.LazyFrame` of key and `labelled_at`; and
`REPLAYED_FROM`, where a replay of it begins if nobody says. `MAKES_MOMENTS = True` marks one that adds what
`data.moments` declares itself; `WAITS_FOR_LABELS = True` one that leaves out what `data.label_time` says is too young.
"""

import dataclasses
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import polars as pl
from polars.exceptions import PanicException

from tidemill.composition import component
from tidemill.data.sources._panics import untold
from tidemill.errors import SourceError
from tidemill.settings import DataSettings


def open(settings: DataSettings) -> pl.LazyFrame:
    """The table that `data.source` names; at most `data.limit` rows.

    Raises:
        SettingsError: there is no such source.
        SourceError: the table cannot be found or read.
    """
    source = component("tidemill.data.sources", settings.source, having="read", key="data.source")
    with reading(settings.path):
        frame: pl.LazyFrame = _in_utc(source.read(settings))
        names = frame.collect_schema().names()
    if any(not name.strip() for name in names):
        raise SourceError(
            "Every column must have a name",
            observed=f"column {[not name.strip() for name in names].index(True) + 1} of {len(names)} has none",
            remedy="name it in the table",
        )
    frame = frame if settings.limit is None else frame.head(settings.limit)
    return frame if getattr(source, "MAKES_MOMENTS", False) else _with_moments(frame, settings)


def waits_for_labels(settings: DataSettings) -> bool:
    """Whether the source itself leaves out records whose labels came too late for `data.label_time`."""
    source = component("tidemill.data.sources", settings.source, having="read", key="data.source")
    return bool(getattr(source, "WAITS_FOR_LABELS", False))


def _with_moments(frame: pl.LazyFrame, settings: DataSettings) -> pl.LazyFrame:
    from tidemill.data import made_moments  # which reads through this module

    return made_moments.add(frame, made_moments.declared(settings))


def open_test(settings: DataSettings) -> pl.LazyFrame | None:
    """The separate test table at `data.test_path`, read as `data.path` is; None where none is set."""
    return _separate(settings, settings.test_path)


def open_validation(settings: DataSettings) -> pl.LazyFrame | None:
    """The separate validation table at `data.validation_path`, likewise."""
    return _separate(settings, settings.validation_path)


def _separate(settings: DataSettings, path: str | None) -> pl.LazyFrame | None:
    return None if path is None else open(dataclasses.replace(settings, path=path))


def pandas_index(settings: DataSettings) -> list[str]:
    """Columns of a Parquet file that pandas stored as its index of rows, by what pandas wrote into the file."""
    from tidemill.data.sources import files

    return files.pandas_index(settings) if settings.source == "files" else []


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
def reading(place: str | None = None) -> Iterator[None]:
    """The one place where failures of the libraries that read tables become ours.

    Args:
        place: what is read, to be named.

    Raises:
        SourceError: something inside failed.
    """
    try:
        with untold():
            yield
    except FAILURES as error:
        raise unreadable(error, place) from error


def unreadable(error: BaseException, place: str | None = None) -> SourceError:
    """What Polars or the file system said, in the shape of our errors."""
    said = (str(error).strip().splitlines() or [type(error).__name__])[0][:500]
    where = f"{place}: " if place and place not in said else ""
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


def _in_utc(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Times in zones that Polars does not know, like "+05:30", in UTC: in memory they are that already."""
    zoned = {name: dtype for name, dtype in frame.collect_schema().items() if isinstance(dtype, pl.Datetime)}
    odd = [name for name, dtype in zoned.items() if dtype.time_zone and not _known(dtype.time_zone)]
    casts = [pl.col(name).cast(pl.Int64).cast(pl.Datetime(zoned[name].time_unit, "UTC")) for name in odd]
    return frame.with_columns(casts) if casts else frame


@lru_cache(maxsize=64)
def _known(zone: str) -> bool:
    try:
        pl.Series([0]).cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(zone)
    except pl.exceptions.PolarsError:
        return False
    return True
