"""What can be set about the ledger, and the rule for each setting."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from tidemill.composition import Conflict, Rule
from tidemill.secrets import hidden
from tidemill.settings.rules import AtLeastOne, Positive

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
    """

    path: str | None
    wal: str | None = None
    fsync: Fsync = Fsync.SECOND
    when_full: WhenFull = WhenFull.REFUSE
    ship_seconds: Annotated[float, Positive] = 5.0
    segment_bytes: Annotated[int, Rule("4096 or greater", lambda value: value >= 4096)] = 64 * 2**20
    columns: Mapping[str, Cover] = field(default_factory=dict)
    sensitive: Cover = Cover.HASH
    ignored: Cover = Cover.KEEP
    hash_key_file: str | None = None
    retention_days: Annotated[int, AtLeastOne] | None = None
    compact_every: Annotated[int, AtLeastOne] = 100
    storage_options: Mapping[str, str] = field(default_factory=dict, repr=False)

    def conflicts(self) -> Iterator[Conflict]:
        if self.path is not None and self.wal is None and _remote(self.path):
            rule = "must name a local folder whose disk outlives the process, like /var/lib/tidemill/wal"
            yield Conflict("wal", None, f"{rule}, where path is an object store")
        if self.wal is not None and _remote(self.wal):
            yield Conflict("wal", self.wal, "must be a folder on this machine's disk; path may be an object store")

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
