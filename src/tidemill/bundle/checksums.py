"""checksums.json: SHA-256 by file, of all files of a bundle. Written last, so a folder that has it is complete."""

import hashlib
import json
from collections.abc import Collection
from pathlib import Path

from tidemill.bundle import signing
from tidemill.errors import BundleError

NEEDED = frozenset({"golden.json", "manifest.json", "model.onnx", "profile.json"})
"""What a bundle that is to answer is not without."""

NAME = "checksums.json"
_BLOCK = 4 * 2**20
"""Bytes that are read and summed at once. Each time the interpreter is asked for again, which takes it from a replica's
event loop; hashlib's own blocks are sixteen times smaller."""


_AFTER = frozenset({NAME, signing.NAME})


def write(folder: Path) -> None:
    """Sum up every file that lies directly in `folder`, but for a signature, which comes after."""
    sums = {path.name: _sha256(path) for path in sorted(folder.iterdir()) if path.is_file() and path.name not in _AFTER}
    (folder / NAME).write_text(json.dumps({"sha256": sums}, indent=2, ensure_ascii=False), encoding="utf-8")


def verify(folder: Path, needed: Collection[str] = ()) -> None:
    """Compare every file with its sum; there are no others, and none of those that are needed is left out.

    Raises:
        BundleError: checksums.json is missing or unreadable, or a file is missing, altered or too many, by name.
    """
    sums = _read(folder)
    for wrong, names in {
        "does not name": {*needed} - sums.keys(),
        "knows nothing of": {path.name for path in folder.iterdir()} - sums.keys() - _AFTER,
    }.items():
        if names:
            raise BundleError(
                f"A bundle's {NAME} names all of its files",
                observed=f"{folder}: it {wrong} {', '.join(sorted(names)[:5])}",
                remedy="fetch or export the bundle again, or take out what is none of it",
            )
    for name, expected in sums.items():
        path = folder / name
        if not path.is_file():
            raise BundleError(
                "A bundle holds every file that its checksums.json names",
                observed=f"{name} is missing from {folder}",
                remedy="fetch or export the bundle again; `tidemill registry rollback` serves the one before",
            )
        if _sha256(path) != expected:
            raise BundleError(
                "A bundle's files stay as they were exported",
                observed=f"{name} in {folder} was altered or cut short: its SHA-256 is not the recorded one",
                remedy="fetch or export the bundle again; `tidemill registry rollback` serves the one before",
            )


def _read(folder: Path) -> dict[str, str]:
    try:
        sums: dict[str, str] = dict(json.loads((folder / NAME).read_text(encoding="utf-8"))["sha256"])
        if any(Path(name).name != name or not isinstance(sum_, str) for name, sum_ in sums.items()):
            raise ValueError("a file's name leads out of the folder, or its sum is no text")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleError(
            f"A bundle has a {NAME} that names its files",
            observed=f"{folder}: {type(error).__name__}: {error}",
            remedy="name a folder that holds a whole bundle",
        ) from error
    return sums


def _sha256(path: Path) -> str:
    digest, block = hashlib.sha256(), memoryview(bytearray(_BLOCK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            digest.update(block[:count])
    return digest.hexdigest()
