"""Where tables come from. Every module here with `read(settings) -> pl.LazyFrame` is a source.

To add one: a module `tidemill/data/sources/<name>.py`, or one of your own by its dotted name. A source whose labels
become known later than its records may say when: `labelled_at(settings) -> pl.LazyFrame` of key and `labelled_at`; and
`REPLAYED_FROM`, where a replay of it begins if nobody says. `MAKES_MOMENTS = True` marks one that adds what
`data.moments` declares itself; `WAITS_FOR_LABELS = True` one that leaves out what `data.label_time` says is too young.
"""

import dataclasses
from functools import lru_cache

import polars as pl

from tidemill.composition import component
from tidemill.data import made_moments
from tidemill.data.cells.parsing import TIMESTAMP
from tidemill.data.reading import reading
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
    made = getattr(source, "MAKES_MOMENTS", False)
    return frame if made else made_moments.add(frame, made_moments.declared(settings))


def waits_for_labels(settings: DataSettings) -> bool:
    """Whether the source itself leaves out records whose labels came too late for `data.label_time`."""
    source = component("tidemill.data.sources", settings.source, having="read", key="data.source")
    return bool(getattr(source, "WAITS_FOR_LABELS", False))


def open_separate(settings: DataSettings, split: str) -> pl.LazyFrame | None:
    """The separate table of `data.validation_path` or `data.test_path`, read as `data.path` is; None: none."""
    path = getattr(settings, f"{split}_path")
    return None if path is None else open(dataclasses.replace(settings, path=path))


def _in_utc(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Times in zones that Polars does not know, like "+05:30", in UTC: in memory they are that already."""
    zoned = {name: dtype for name, dtype in frame.collect_schema().items() if isinstance(dtype, pl.Datetime)}
    odd = [name for name, dtype in zoned.items() if dtype.time_zone and not _known(dtype.time_zone)]
    casts = [pl.col(name).cast(pl.Int64).cast(pl.Datetime(zoned[name].time_unit, "UTC")) for name in odd]
    return frame.with_columns(casts) if casts else frame


@lru_cache(maxsize=64)
def _known(zone: str) -> bool:
    try:
        pl.Series([0]).cast(TIMESTAMP).dt.convert_time_zone(zone)
    except pl.exceptions.PolarsError:
        return False
    return True
