"""What was shipped, read back from the tables."""

import datetime as dt
from typing import Any

import polars as pl

from tidemill.ledger import tables
from tidemill.ledger.settings import LedgerSettings
from tidemill.ledger.shipper import Shipper

SEEN = dt.datetime(2013, 6, 30, 12, 5, tzinfo=dt.UTC)
READ = {"size": 1.5, "color": "red", "new": True, "seen": SEEN}


def ship(settings: LedgerSettings) -> int:
    return Shipper(settings, "shop", settings.segments("shop")).run()


def shipped(settings: LedgerSettings) -> pl.DataFrame:
    ship(settings)
    return tables.answers(settings, "shop").sort("id", "role").collect()


def inputs(settings: LedgerSettings) -> list[Any]:
    return shipped(settings)["inputs"].to_list()
