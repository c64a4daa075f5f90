"""The registry: `<path>/<model>/<version>/` holds a bundle, `<path>/<model>/aliases.json` says which one is which.

Aliases: *candidate* (the newest that was registered), *challenger* (compared with the champion on
live requests), *champion* (serves). Every change of an alias is kept with who, when and why.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from tidemill.bundle import checksums, manifest
from tidemill.bundle.store import is_version, open_store
from tidemill.errors import RegistryError
from tidemill.settings import PlainName

_ALIASES = "aliases.json"


class Alias(StrEnum):
    CANDIDATE = "candidate"
    CHALLENGER = "challenger"
    CHAMPION = "champion"


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One entry of the history. action: promote or rollback; at: UTC, ISO 8601."""

    alias: str
    version: str
    action: str
    at: str
    by: str
    reason: str


class Registry:
    """Bundles by model and version.

    Args:
        path: a folder, or any fsspec URL.

    Raises:
        RegistryError: (all methods) a name, version or alias does not exist or cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        with _explained(self.path):
            self._store = open_store(self.path)

    def probe(self) -> None:
        """Write a file and remove it: better to learn before the work than after it that nothing can be kept."""
        with _explained(self.path):
            self._store.probe()

    def add(self, model: str, folder: Path) -> str:
        """Make a version of the bundle in `folder`, whole or not at all, and return its number.

        `folder` stays as it is. The version's number is written into the copy's manifest.

        Raises:
            BundleError: the folder does not hold a whole bundle.
        """
        _check_name(model)
        checksums.verify(folder)
        with _explained(f"{self.path}/{model}"):
            return self._store.add(model, folder, lambda copy, version: _stamp(copy, model, version))

    def models(self) -> list[str]:
        with _explained(self.path):
            return self._store.models()

    def versions(self, model: str) -> list[str]:
        """Numbers of the complete versions, oldest first."""
        _check_name(model)
        with _explained(self.path):
            return self._store.versions(model)

    def aliases(self, model: str) -> dict[str, str]:
        """Alias → version."""
        return {change.alias: change.version for change in self.history(model)}

    def history(self, model: str) -> list[Change]:
        """Every change of an alias, oldest first."""
        _check_name(model)
        with _explained(self.path):
            content = self._store.read(model, _ALIASES)
        try:
            return [] if content is None else [Change(**entry) for entry in json.loads(content)["history"]]
        except (ValueError, KeyError, TypeError) as error:
            raise RegistryError(
                f"A model's {_ALIASES} is one that the registry wrote",
                observed=f"{self.path}/{model}/{_ALIASES}: {type(error).__name__}: {error}",
                remedy="restore the file from a backup, or delete it and promote the champion again",
            ) from error

    def resolve(self, model: str, name: str) -> str:
        """The version that an alias, or the version's own number, stands for."""
        version = name if is_version(name) else self.aliases(model).get(name)
        if version is None or not self._has(model, version):
            known = ", ".join([*(f"{alias} = {number}" for alias, number in self.aliases(model).items())])
            versions = ", ".join(self.versions(model)) or "none"
            raise RegistryError(
                "A bundle is named by a model and one of its versions or aliases",
                observed=f"{model}/{name} in {self.path}; versions: {versions}; aliases: {known or 'none'}",
                remedy="see `tidemill registry list`, or train the model first",
            )
        return version

    def fetch(self, model: str, name: str) -> Path:
        """A local folder with the verified files of a version (the registry's own one where it is local).

        Raises:
            BundleError: a file is missing or altered.
        """
        version = self.resolve(model, name)
        with _explained(f"{self.path}/{model}/{version}"):
            folder = self._store.fetch(model, version)
        checksums.verify(folder)
        return folder

    def describe(self, model: str, name: str) -> manifest.Manifest:
        """A version's manifest, without its other files being read."""
        version = self.resolve(model, name)
        with _explained(f"{self.path}/{model}/{version}"):
            content = self._store.read(model, f"{version}/{manifest.NAME}")
        return manifest.parse(content, f"{self.path}/{model}/{version}")

    def verify(self, model: str, name: str) -> None:
        """Compare a version's files with their checksums; raises BundleError as `fetch` does."""
        self._store.discard(self.fetch(model, name))

    def promote(self, model: str, name: str, alias: Alias = Alias.CHAMPION, *, by: str, reason: str) -> str:
        """Let `alias` stand for a version; returns the version. Nothing changes where it does so already."""
        version = self.resolve(model, name)
        self.verify(model, version)
        with self._changing(model) as history:
            if _stack(history, alias)[-1:] != [version]:
                history.append(_change(alias, version, "promote", by, reason))
        return version

    def rollback(self, model: str, *, by: str, reason: str) -> str:
        """Make the champion before this one champion again; returns its version. Can be repeated."""
        with self._changing(model) as history:
            stack = _stack(history, Alias.CHAMPION)
            if len(stack) < 2:
                raise RegistryError(
                    "A rollback needs a champion before the present one",
                    observed=f"{model} had {'only version ' + stack[0] if stack else 'none'} as champion",
                    remedy=f"promote a version: tidemill registry promote {model} VERSION",
                )
            self.verify(model, stack[-2])
            history.append(_change(Alias.CHAMPION, stack[-2], "rollback", by, reason))
            return stack[-2]

    def _has(self, model: str, version: str) -> bool:
        _check_name(model)
        with _explained(self.path):
            return self._store.has(model, version)

    @contextmanager
    def _changing(self, model: str) -> Iterator[list[Change]]:
        """The history, written back at once when the block ends well."""
        if not self.versions(model):
            self.resolve(model, Alias.CHAMPION)  # explains what there is
        with _explained(f"{self.path}/{model}/{_ALIASES}"), self._store.lock(model):
            history = self.history(model)
            yield history
            aliases = {change.alias: change.version for change in history}
            content = {"format": 1, "aliases": aliases, "history": [asdict(change) for change in history]}
            self._store.replace(model, _ALIASES, json.dumps(content, indent=2, ensure_ascii=False).encode())


def _stack(history: list[Change], alias: Alias) -> list[str]:
    """Versions that `alias` stood for and may come back to, the present one last."""
    stack: list[str] = []
    for change in history:
        if change.alias == alias:
            stack = stack[:-1] if change.action == "rollback" else [*stack, change.version]
    return stack


def _change(alias: Alias, version: str, action: str, by: str, reason: str) -> Change:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Change(alias=str(alias), version=version, action=action, at=now, by=by, reason=reason)


def _stamp(folder: Path, model: str, version: str) -> None:
    described = manifest.read(folder)
    manifest.write(replace(described, identity=replace(described.identity, model=model, version=version)), folder)
    checksums.write(folder)


def _check_name(model: str) -> None:
    if not model or not PlainName.holds(model):
        raise RegistryError(
            f"A model's name is {PlainName.text}",
            observed=repr(model),
            remedy="choose another name",
        )


@contextmanager
def _explained(place: str) -> Iterator[None]:
    """Turn what file systems raise (a full disk, no permission, no network) into an error that names the place."""
    try:
        yield
    except (OSError, ValueError, ImportError) as error:
        raise RegistryError(
            "The registry can be reached, read and written",
            observed=f"{place}: {_first(error)}",
            remedy="check the path, its permissions and the free space; the registry is as it was before",
        ) from error


def _first(error: Exception) -> str:
    """What went wrong; of a folder that could not be copied, the first of its files is enough."""
    if isinstance(error, shutil.Error):
        return str(error.args[0][0][2])
    return f"{type(error).__name__}: {error}"
