"""Masking: which columns reach the tables as they are, as keyed digests or not at all, and the key for the digests."""

import hashlib
import json
import logging
import os
import secrets
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tidemill.data.schema import Column, Role
from tidemill.errors import SettingsError, listed
from tidemill.ledger.settings import LedgerSettings, Masking

VARIABLE = "TIDEMILL_LEDGER_HASH_KEY"
_MADE = "hash.key"
_NOTED, _ROLES = "tidemill.covers", "tidemill.covers by role"
_DIGEST = 16  # bytes
LOG = logging.getLogger(__name__)


def masking_of(column: Column, settings: LedgerSettings) -> Masking:
    """What the settings say about a column: by its name, else by its role."""
    by_role = {Role.SENSITIVE: settings.sensitive, Role.IGNORED: settings.ignored}
    return settings.columns.get(column.name, by_role.get(column.role, Masking.KEEP))


def noted(settings: LedgerSettings) -> dict[str, str]:
    """What each commit of answers says, so that whoever reads them knows which columns are masked by name."""
    by_name = {name: found for name, found in settings.columns.items() if found is not Masking.KEEP}
    return {
        _NOTED: json.dumps(by_name),
        _ROLES: json.dumps({"sensitive": settings.sensitive, "ignored": settings.ignored}),
    }


def read(notes: Iterable[Mapping[str, Any]]) -> dict[str, Masking] | None:
    """The masking by name that the newest commit says, of commits newest first; None: none says it."""
    for note in notes:
        if _NOTED in note:
            return {name: Masking(found) for name, found in json.loads(note[_NOTED]).items()}
    return None


def with_roles(settings: LedgerSettings, notes: Iterable[Mapping[str, Any]]) -> LedgerSettings:
    """The settings with the masking by role that the newest commit says, if one does."""
    for note in notes:
        if _ROLES in note:
            found = json.loads(note[_ROLES])
            return replace(settings, sensitive=Masking(found["sensitive"]), ignored=Masking(found["ignored"]))
    return settings


def digests(values: Iterable[object], key: bytes) -> dict[object, str]:
    """Keyed BLAKE2b of each value's text (RFC 7693), 32 hexadecimal digits."""
    return {
        value: hashlib.blake2b(str(value).encode("utf-8", "surrogatepass"), digest_size=_DIGEST, key=key).hexdigest()
        for value in values
    }


def check(settings: LedgerSettings, known: Collection[str]) -> None:
    """
    Raises:
        SettingsError: `ledger.columns` names a column that is not known: what it means to hide would not be.
    """
    unknown = sorted(settings.columns.keys() - known)
    if unknown:
        raise SettingsError(
            "Each name in ledger.columns must be a column of the model",
            observed=f"{listed(unknown)}; the columns are {listed(sorted(known))}",
            remedy="correct the names in ledger.columns",
        )


def key(settings: LedgerSettings, segments: Path) -> bytes:
    """The key for digests: the given one, else one that is made once and kept beside the segments.

    Raises:
        SettingsError: as `given`.
    """
    return _short(given(settings) or _made(segments / _MADE))


def found(settings: LedgerSettings, segments: Path) -> bytes | None:
    """The same for whoever reads: None where there is none yet, as a new one would find nothing again.

    Raises:
        SettingsError: as `given`.
    """
    made = segments / _MADE
    secret = given(settings) or (made.read_bytes().strip() if made.exists() else None)
    return _short(secret) if secret else None


def _short(secret: bytes) -> bytes:
    """As BLAKE2b takes it."""
    return secret if len(secret) <= hashlib.blake2b.MAX_KEY_SIZE else hashlib.blake2b(secret).digest()


def given(settings: LedgerSettings) -> bytes | None:
    """The text from which the key for digests is made, from the file or the environment; None: neither is set.

    Raises:
        SettingsError: the file cannot be read, or there is too little in it.
    """
    if settings.hash_key_file is not None:
        try:
            found = Path(settings.hash_key_file).read_bytes().strip()
        except OSError as error:
            raise _unfit(f"ledger.hash_key_file={settings.hash_key_file}: {error.strerror}") from error
        if len(found) < 16:
            raise _unfit(f"ledger.hash_key_file={settings.hash_key_file} with {len(found)} bytes")
    elif VARIABLE in os.environ:
        found = os.environ[VARIABLE].strip().encode()
        if len(found) < 16:
            raise _unfit(f"{VARIABLE} with {len(found)} bytes")
    else:
        return None
    return found


def _made(path: Path) -> bytes:
    """Made under another name and linked into place, so that several processes agree on one."""
    if not path.exists():
        staged = path.with_name(f".{_MADE}-{secrets.token_hex(8)}")
        try:
            with os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_hex(32))
            os.link(staged, path)
            LOG.info("made the key for digests, %s; other machines need the same one for equal digests", path)
        except FileExistsError:
            pass
        finally:
            staged.unlink(missing_ok=True)
    return path.read_bytes().strip()


def _unfit(observed: str) -> SettingsError:
    return SettingsError(
        "The key for digests must have 16 bytes or more, so that nobody can find values by trying",
        observed=observed,
        remedy="write a random text into the file, as `openssl rand -hex 32` prints",
    )
