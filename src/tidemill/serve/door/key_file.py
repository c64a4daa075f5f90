"""The file of API keys: one JSON document of hashes, read whole and written whole.

    {"format": 1, "keys": [{"id": "3f9a0c1d", "name": "app", "sha256": "…", "scopes": ["predict", "feedback"],
                            "rate": 100.0, "burst": 200, "created": "2026-01-01T00:00:00Z", "expires": null}]}

A key's text is `tm_<id>_<secret>`: the secret has 256 random bits, so that its plain SHA-256 cannot be searched for,
and the file holds only that. Who can write the file can let anybody in: it is made with mode 0600.
"""

import contextlib
import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec

from tidemill import durable
from tidemill.errors import SettingsError, listed

_MAKE = "make one: tidemill keys create --file {} --name app --scopes predict,feedback"


class Scope(StrEnum):
    """What a key may be good for; none implies another.

    Labels hold for answers that were given to a key of the same name. Those of a key that is also good for FEEDBACK_ALL
    hold for everybody's, as those of a back office must.
    """

    PREDICT = "predict"
    FEEDBACK = "feedback"
    FEEDBACK_ALL = "feedback-all"
    METRICS = "metrics"
    ADMIN = "admin"


class Key(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry. rate: requests a second in each replica, None: any; burst: requests at once after a rest."""

    id: Annotated[str, msgspec.Meta(pattern="^[0-9a-z]{4,32}$")]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    scopes: Annotated[tuple[Scope, ...], msgspec.Meta(min_length=1)]
    rate: Annotated[float, msgspec.Meta(gt=0, le=1e9)] | None = None
    burst: Annotated[int, msgspec.Meta(ge=1, le=10**9)] | None = None
    created: Annotated[datetime, msgspec.Meta(tz=True)]
    expires: Annotated[datetime, msgspec.Meta(tz=True)] | None = None

    def __repr__(self) -> str:
        return f"Key({self.id}, {self.name!r}, {', '.join(self.scopes)})"


class _File(msgspec.Struct, forbid_unknown_fields=True):
    format: Annotated[int, msgspec.Meta(ge=1, le=1)]
    keys: list[Key]


def read(path: Path) -> list[Key]:
    """The keys of a file.

    Raises:
        SettingsError: the file cannot be read, or is not what `create` writes.
    """
    try:
        keys = msgspec.json.decode(path.read_bytes(), type=_File).keys
        if len({key.id for key in keys}) < len(keys):
            raise ValueError("two keys have the same id")
    except FileNotFoundError as error:
        raise SettingsError(
            "A file of API keys exists before it is used", observed=str(path), remedy=_MAKE.format(path)
        ) from error
    except (OSError, ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors; they quote no value
        raise SettingsError(
            "A file of API keys is one that `tidemill keys create` wrote",
            observed=f"{path}: {type(error).__name__}: {error}",
            remedy=f"restore it, or move it away and {_MAKE.format(path)}",
        ) from error
    return keys


def create(
    path: Path,
    name: str,
    scopes: Sequence[Scope],
    *,
    rate: float | None = None,
    burst: int | None = None,
    expires: datetime | None = None,
) -> tuple[Key, str]:
    """Add a key to a file, which is made where there is none. Returns the entry, and the text that is kept nowhere.

    Args:
        expires: with a time zone.

    Raises:
        SettingsError: a value is out of range, or the file cannot be read or written.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    if expires is not None and expires <= now:
        raise SettingsError("A key expires later than now", observed=expires.isoformat(), remedy="name a later date")
    secret = secrets.token_hex(32)
    with _changing(path) as keys:
        made = {
            "id": _unused(keys),
            "name": name,
            "sha256": hashlib.sha256(secret.encode()).hexdigest(),
            "scopes": list(dict.fromkeys(scopes)),
            "rate": rate,
            "burst": burst,
            "created": now,
            "expires": expires,
        }
        try:
            key = msgspec.convert(made, Key)
        except msgspec.ValidationError as error:
            raise SettingsError(
                "A key has a name of at most 100 characters, a scope, and a rate and burst above 0",
                observed=str(error),
                remedy="correct the argument; `tidemill keys create --help` names them",
            ) from error
        keys.append(key)
    return key, f"tm_{key.id}_{secret}"


def revoke(path: Path, id: str) -> Key:
    """Take a key out of a file; replicas notice within about a second.

    Raises:
        SettingsError: there is no such key, or the file cannot be read or written.
    """
    if not path.exists():
        read(path)  # says how one is made
    with _changing(path) as keys:
        for key in keys:
            if key.id == id:
                keys.remove(key)
                return key
        raise SettingsError(
            "A key that is revoked is in the file",
            observed=f"{id[:40]!r}; there are {listed(key.id for key in keys) or 'none'}",
            remedy=f"see `tidemill keys list --file {path}`",
        )


def _unused(keys: Sequence[Key]) -> str:
    taken = {key.id for key in keys}
    return next(id for id in iter(lambda: secrets.token_hex(4), "") if id not in taken)


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[list[Key]]:
    """The file's keys, written back when the block ends well. Writers wait; readers see the old file or the new."""
    try:
        with _locked(path.parent):
            keys = read(path) if path.exists() else []
            yield keys
            with durable.replacing(path, f".{path.name}-", 0o600) as staged:
                staged.write_bytes(msgspec.json.format(msgspec.json.encode(_File(1, keys)), indent=2) + b"\n")
    except OSError as error:
        raise SettingsError(
            "A file of API keys can be written",
            observed=f"{path}: {error}",
            remedy="check the folder, its permissions and the free space; the file is as it was before",
        ) from error


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
