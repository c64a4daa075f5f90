"""Where tables come from. Every module here with `read(settings) -> pl.LazyFrame` is a source.

To add one: a module `tidemill/data/sources/<name>.py`, or one of your own by its dotted name. A source whose labels
become known later than its records may say when: `labelled_at(settings) -> pl.LazyFrame` of key and `labelled_at`; and
`REPLAYED_FROM`, where a replay of it begins if nobody says.
"""

import dataclasses

import polars as pl

from tidemill.composition import component
from tidemill.errors import SourceError
from tidemill.settings import DataSettings


def open(settings: DataSettings) -> pl.LazyFrame:
    """The table that `data.source` names; at most `data.limit` rows.

    Raises:
        SettingsError: there is no such source.
        SourceError: the table cannot be found or read.
    """
    source = component("tidemill.data.sources", settings.source, having="read", key="data.source")
    try:
        frame: pl.LazyFrame = source.read(settings)
        names = frame.collect_schema().names()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise unreadable(error) from error
    if any(not name.strip() for name in names):
        raise SourceError(
            "Every column must have a name",
            observed=f"column {[not name.strip() for name in names].index(True) + 1} of {len(names)} has none",
            remedy="name it in the table",
        )
    return frame if settings.limit is None else frame.head(settings.limit)


def open_test(settings: DataSettings) -> pl.LazyFrame | None:
    """The separate test table at `data.test_path`, read as `data.path` is; None where none is set."""
    return _separate(settings, settings.test_path)


def open_validation(settings: DataSettings) -> pl.LazyFrame | None:
    """The separate validation table at `data.validation_path`, likewise."""
    return _separate(settings, settings.validation_path)


def _separate(settings: DataSettings, path: str | None) -> pl.LazyFrame | None:
    return None if path is None else open(dataclasses.replace(settings, path=path))


def collect(frame: pl.LazyFrame) -> pl.DataFrame:
    """Carry out what a source has only planned.

    Raises:
        SourceError: the source fails while it is being read.
    """
    try:
        return frame.collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise unreadable(error) from error


def unreadable(error: Exception) -> SourceError:
    """What Polars or the file system said, in the shape of our errors."""
    said = str(error).strip().splitlines() or [type(error).__name__]
    remedies = {
        "found more fields": "mend the lines with too many separators, or set data.options.separator",
        "utf-8": "set data.options.encoding (for example latin-1), or store the file as UTF-8",
    }
    remedy = next((text for sign, text in remedies.items() if sign in said[0].lower()), None)
    return SourceError(
        "A table must be readable to its end",
        observed=said[0][:500],
        remedy=remedy or "check data.path and data.format, and that the file is whole",
    )
