"""Where the registry's files lie: a local folder or any fsspec URL.

Both promise that a version is visible whole or not at all, and that two writers never share one:

- a local folder: a version is copied beside its place, synced to disk, and renamed into it at once;
- an object store: a version's number is claimed by a file that only one writer can create, and the
  version counts as soon as its checksums.json, uploaded last, is there.

What killed writers leave behind is invisible, and swept when a day old.
"""

import contextlib
import errno
import itertools
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from tidemill import durable
from tidemill.bundle import checksums
from tidemill.errors import LedgerError, RegistryError

Stamp = Callable[[Path, str], None]
"""Writes a version's number into the copy of a bundle and sums its files up again."""

_CLAIM = ".claim"
_STAGING = ".staging-"
_SWEEP_AFTER = 86_400.0  # seconds
_LOCK = ".lock"
_PATIENCE, _BREAK_AFTER = 30.0, 60.0  # seconds
_TELLING = ("ETag", "etag", "md5Hash", "generation", "LastModified", "last_modified", "updated", "mtime", "created")
"""What object stores call the things that differ between two writes of a file."""


def open_store(path: str) -> "Store":
    filesystem, root = fsspec.core.url_to_fs(path)
    return LocalStore(filesystem, root) if isinstance(filesystem, LocalFileSystem) else Store(filesystem, root)


class Store:
    """An object store; also what reading a local folder is like."""

    def __init__(self, filesystem: Any, root: str) -> None:
        self.filesystem = filesystem
        self.root = root.rstrip("/")

    def probe(self) -> None:
        """Write a file and remove it."""
        self.filesystem.makedirs(self.root, exist_ok=True)
        place = f"{self.root}/{_STAGING}{uuid.uuid4().hex}"
        self.filesystem.pipe_file(place, b"probe")
        self.filesystem.rm_file(place)

    def models(self) -> list[str]:
        return sorted(name for name in self._names(self.root) if self.versions(name))

    def versions(self, model: str) -> list[str]:
        """Complete ones, oldest first."""
        return [number for number in self._numbers(model) if self.has(model, number)]

    def has(self, model: str, version: str) -> bool:
        return bool(self.filesystem.exists(f"{self.root}/{model}/{version}/{checksums.NAME}"))

    def read(self, model: str, name: str) -> bytes | None:
        try:
            return bytes(self.filesystem.cat_file(f"{self.root}/{model}/{name}"))
        except FileNotFoundError:
            return None

    def mark(self, model: str, name: str) -> str | None:
        """A text that changes when the file does, from what the store tells of it; None where there is no such file."""
        self.filesystem.invalidate_cache(f"{self.root}/{model}")
        try:
            told = self.filesystem.info(f"{self.root}/{model}/{name}")
        except FileNotFoundError:
            return None
        return repr([told[key] for key in (*_TELLING, "size") if told.get(key) is not None])

    def replace(self, model: str, name: str, content: bytes, *, private: bool = False) -> None:
        """Write a file so that readers see the old content or the new, never a part.

        private: only its owner may read it; in an object store, who may is for its own rules to say.
        """
        self.filesystem.pipe_file(f"{self.root}/{model}/{name}", content)

    @contextlib.contextmanager
    def lock(self, model: str) -> Iterator[None]:
        """Keep other writers out, by a file that only one can create; a killed writer's is broken after a minute."""
        held = f"{self.root}/{model}/{_LOCK}"
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                self.filesystem.pipe_file(held, str(time.time()).encode(), mode="create")
                break
            except FileExistsError:
                since = self.read(model, _LOCK)
                if since and time.time() - float(since) > _BREAK_AFTER:
                    self._release(held)
                elif time.monotonic() > until:
                    raise OSError(errno.EAGAIN, f"another writer has held {held} for {_PATIENCE:.0f} s") from None
                else:
                    time.sleep(0.05)
        try:
            yield
        finally:
            self._release(held)

    def _release(self, held: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.filesystem.rm_file(held)

    @contextlib.contextmanager
    def fetched(self, model: str, version: str) -> Iterator[Path]:
        """A local folder with the version's files, for as long as the block runs."""
        with tempfile.TemporaryDirectory(prefix=f"{model}-{version}-", ignore_cleanup_errors=True) as folder:
            for name in self._names(f"{self.root}/{model}/{version}"):
                if name != _CLAIM:  # the store's, no part of the bundle
                    self.filesystem.get_file(f"{self.root}/{model}/{version}/{name}", f"{folder}/{name}")
            yield Path(folder)

    def add(self, model: str, folder: Path, stamp: Stamp) -> str:
        self._sweep(model)
        version = self._claim(model)
        target = f"{self.root}/{model}/{version}"
        with tempfile.TemporaryDirectory() as copy:
            try:
                shutil.copytree(folder, copy, dirs_exist_ok=True)
                stamp(Path(copy), version)
                files = sorted(Path(copy).iterdir(), key=lambda path: path.name == checksums.NAME)
                for path in files:
                    self.filesystem.put_file(str(path), f"{target}/{path.name}")
            except BaseException:
                with contextlib.suppress(OSError):
                    self.filesystem.rm(target, recursive=True)
                raise
        return version

    def _claim(self, model: str) -> str:
        for number in itertools.count(max(map(int, self._numbers(model)), default=0) + 1):
            claim = f"{self.root}/{model}/{number}/{_CLAIM}"
            with contextlib.suppress(FileExistsError):
                self.filesystem.pipe_file(claim, str(time.time()).encode(), mode="create")
                return str(number)
        raise AssertionError("numbers do not end")

    def _sweep(self, model: str) -> None:
        for number in self._numbers(model):
            begun = self.read(model, f"{number}/{_CLAIM}")
            if begun and not self.has(model, number) and time.time() - float(begun) > _SWEEP_AFTER:
                self.filesystem.rm(f"{self.root}/{model}/{number}", recursive=True)

    def _numbers(self, model: str) -> list[str]:
        """Every version begun, complete or not."""
        return sorted((name for name in self._names(f"{self.root}/{model}") if is_version(name)), key=int)

    def _names(self, path: str) -> list[str]:
        self.filesystem.invalidate_cache()
        try:
            return [entry.rstrip("/").rsplit("/", 1)[-1] for entry in self.filesystem.ls(path, detail=False)]
        except (FileNotFoundError, NotADirectoryError):
            return []


class LocalStore(Store):
    """A folder on this machine (or a mounted one whose renames are atomic)."""

    def mark(self, model: str, name: str) -> str | None:
        try:
            told = Path(self.root, model, name).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return f"{told.st_ino}-{told.st_mtime_ns}-{told.st_size}"

    def replace(self, model: str, name: str, content: bytes, *, private: bool = False) -> None:
        with durable.replacing(Path(self.root, model, name), _STAGING, 0o600 if private else 0o666) as staged:
            staged.write_bytes(content)

    @contextlib.contextmanager
    def lock(self, model: str) -> Iterator[None]:
        import fcntl

        with Path(self.root, model, _LOCK).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def fetched(self, model: str, version: str) -> Iterator[Path]:
        yield Path(self.root, model, version)

    def add(self, model: str, folder: Path, stamp: Stamp) -> str:
        home = Path(self.root, model)
        home.mkdir(parents=True, exist_ok=True)
        self._sweep(model)
        staged = home / f"{_STAGING}{uuid.uuid4().hex}"
        try:
            shutil.copytree(folder, staged)
            for number in itertools.count(max(map(int, self._numbers(model)), default=0) + 1):
                stamp(staged, str(number))
                for path in (*staged.iterdir(), staged):
                    durable.sync(path)
                if _rename(staged, home / str(number)):
                    durable.sync(home)
                    return str(number)
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise
        raise AssertionError("numbers do not end")

    def _sweep(self, model: str) -> None:
        for path in Path(self.root, model).glob(f"{_STAGING}*"):
            with contextlib.suppress(OSError):  # another writer may sweep too
                if time.time() - path.stat().st_mtime > _SWEEP_AFTER:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextlib.contextmanager
def explained(place: str, name: str = "registry") -> Iterator[None]:
    """Turn what file systems raise (a full disk, no permission, no network) into an error that names the place.

    Args:
        name: what lies there: registry or ledger.
    """
    try:
        yield
    except (OSError, ValueError, ImportError) as error:
        raise (RegistryError if name == "registry" else LedgerError)(
            f"The {name} can be reached, read and written",
            observed=f"{place}: {_first(error)}",
            remedy=f"check the path, its permissions and the free space; the {name} is as it was before",
        ) from error


def is_version(name: str) -> bool:
    return name.isascii() and name.isdigit() and name[0] != "0"


def _rename(staged: Path, target: Path) -> bool:
    """False when another writer took the number first: a folder is never renamed over a filled one."""
    try:
        staged.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def _first(error: Exception) -> str:
    """What went wrong; of a folder that could not be copied, the first of its files is enough."""
    if isinstance(error, shutil.Error):
        return str(error.args[0][0][2])
    return f"{type(error).__name__}: {error}"
