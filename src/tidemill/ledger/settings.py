"""What can be set about the ledger, and the rule for each setting."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from tidemill.errors import SettingsError
from tidemill.secrets import hidden

NOTE = "ledger.json"
"""Beside the writers' folders: which tables their segments belong into, and what is covered on the way. No secrets."""


class Fsync(StrEnum):
    """When appended entries are forced onto the disk. A killed process loses nothing in any case; a power cut does.

    NEVER: the system decides (up to half a minute lost); SECOND: once a second; ALWAYS: before each answer leaves.
    """

    NEVER = "never"
    SECOND = "second"
    ALWAYS = "always"


class WhenFull(StrEnum):
    """What happens while the write-ahead folder cannot be written: no answers, or answers that are not recorded."""

    REFUSE = "refuse"
    CONTINUE = "continue"


class Cover(StrEnum):
    """How a column's values reach the tables: as they are, as keyed digests (equal ones stay equal), or not at all."""

    KEEP = "keep"
    HASH = "hash"
    MASK = "mask"


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerSettings:
    """One ledger; it holds a folder with two tables for each model.

    Args:
        path: local folder or object store URL of the tables; None: nothing is recorded.
        wal: local folder of the write-ahead segments, one folder for each model in it; None: `<path>/wal`.
        fsync, when_full: see `Fsync`, `WhenFull`.
        ship_seconds: how long an entry may wait before it is shipped into the tables.
        segment_bytes: a segment is closed when it has this size.
        columns: cover of single columns, by name.
        sensitive, ignored: cover of columns with these roles that `columns` does not name.
        hash_key_file: file with the key for digests; None: the variable TIDEMILL_LEDGER_HASH_KEY, and without one a
            key that is made once and kept beside the segments (so digests differ from machine to machine).
        retention_days: tables keep so many days; None: for ever.
        compact_every: commits between compactions.
        storage_options: what delta-rs needs to reach the object store.

    Raises:
        SettingsError: a value breaks its rule; names the key.
    """

    path: str | None
    wal: str | None = None
    fsync: Fsync = Fsync.SECOND
    when_full: WhenFull = WhenFull.REFUSE
    ship_seconds: float = 5.0
    segment_bytes: int = 64 * 2**20
    columns: Mapping[str, Cover] = field(default_factory=dict)
    sensitive: Cover = Cover.HASH
    ignored: Cover = Cover.KEEP
    hash_key_file: str | None = None
    retention_days: int | None = None
    compact_every: int = 100
    storage_options: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for key, choices in (("fsync", Fsync), ("when_full", WhenFull), ("sensitive", Cover), ("ignored", Cover)):
            object.__setattr__(self, key, _choice(key, getattr(self, key), choices))
        covers = {name: _choice(f"columns.{name}", cover, Cover) for name, cover in self.columns.items()}
        object.__setattr__(self, "columns", covers)
        _above("ship_seconds", self.ship_seconds, 0, "greater than 0")
        _above("segment_bytes", self.segment_bytes, 4095, "4096 or greater")
        _above("compact_every", self.compact_every, 0, "1 or greater")
        if self.retention_days is not None:
            _above("retention_days", self.retention_days, 0, "1 or greater, or null for ever")
        if self.path is not None and self.wal is None and _remote(self.path):
            raise SettingsError(
                "ledger.wal must name a local folder when ledger.path is an object store",
                observed=f"ledger.path={self.path} and no ledger.wal",
                remedy="set ledger.wal to a folder on a disk that outlives the process, like /var/lib/tidemill/wal",
            )
        if self.wal is not None and _remote(self.wal):
            raise SettingsError(
                "ledger.wal must be a local folder",
                observed=f"ledger.wal={self.wal}",
                remedy="name a folder on this machine's disk; ledger.path may be an object store",
            )

    @classmethod
    def at(cls, path: str) -> "LedgerSettings":
        """For whoever reads a ledger, or adds to it beside its server, and knows its place alone.

        Of an object store's ledger the segments lie in a folder of that name here.
        """
        return cls(path=path, wal="ledger/wal" if _remote(path) else None)

    def __repr__(self) -> str:
        """Without what opens an object store: it may come into a log."""
        return f"LedgerSettings({hidden({each.name: getattr(self, each.name) for each in fields(self) if each.repr})})"

    def segments(self, model: str) -> Path:
        """The local folder that holds one folder of segments for each writer of a model."""
        assert self.path is not None
        root = Path(self.wal) if self.wal is not None else Path(local(self.path), "wal")
        return root.absolute() / model

    def table(self, model: str, name: str) -> str:
        """Where delta-rs finds a table: `answers` or `labels`."""
        assert self.path is not None
        root = self.path.rstrip("/") if _remote(self.path) else str(Path(local(self.path)).absolute())
        return f"{root}/{model}/{name}"

    @property
    def is_local(self) -> bool:
        return self.path is not None and not _remote(self.path)


def local(path: str) -> str:
    return path.removeprefix("file://")


def _remote(path: str) -> bool:
    return "://" in path and not path.startswith("file://")


def _choice(key: str, value: Any, choices: type[StrEnum]) -> Any:
    try:
        return choices(value)
    except ValueError as error:
        raise SettingsError(
            f"ledger.{key} must be one of {', '.join(choices)}", observed=repr(value), remedy=f"set ledger.{key} to one"
        ) from error


def _above(key: str, value: Any, limit: float, rule: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > limit:
        raise SettingsError(f"ledger.{key} must be {rule}", observed=repr(value), remedy=f"correct ledger.{key}")
