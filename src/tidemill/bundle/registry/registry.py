"""The registry: `<path>/<model>/<version>/` holds a bundle; two files beside it say which one is which.

aliases.json: *candidate* (the newest that was registered), *challenger* (compared with the champion on live
requests), *champion* (serves), and the history: every change with who, when and why. desired.json: what
replicas shall hold now; it follows from the history, and is written again by the next change if a writer was killed
between the two.
"""

import difflib
import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tidemill.bundle import checksums, manifest, signing
from tidemill.bundle.registry import rollout
from tidemill.bundle.registry.rollout import Action, Alias, Change, Desired, Mode
from tidemill.bundle.registry.store import explained, is_version, open_store
from tidemill.errors import RegistryError, listed
from tidemill.settings import PlainName

_ALIASES = "aliases.json"
_DESIRED = "desired.json"
_SECRET = "tosses.key"

__all__ = ["Alias", "Change", "Registry"]


class Registry:
    """Bundles by model and version.

    Args:
        path: a folder, or any fsspec URL.

    Raises:
        RegistryError: (all methods) a name, version or alias does not exist or cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self._verified: set[tuple[str, str]] = set()
        with explained(self.path):
            self._store = open_store(self.path)

    def probe(self) -> None:
        """Write a file and remove it: better to learn before the work than after it that nothing can be kept."""
        with explained(self.path):
            self._store.probe()

    def add(self, model: str, folder: Path) -> str:
        """Make a version of the bundle in `folder`, whole or not at all, and return its number.

        `folder` stays as it is. The version's number is written into the copy's manifest.

        Raises:
            BundleError: the folder does not hold a whole bundle.
        """
        _check_name(model)
        checksums.verify(folder)
        with explained(f"{self.path}/{model}"):
            return self._store.add(model, folder, lambda copy, version: manifest.stamp(copy, model, version))

    def models(self) -> list[str]:
        with explained(self.path):
            return self._store.models()

    def versions(self, model: str) -> list[str]:
        """Numbers of the complete versions, oldest first."""
        _check_name(model)
        with explained(self.path):
            return self._store.versions(model)

    def aliases(self, model: str) -> dict[str, str]:
        """Alias → version."""
        return rollout.aliases(self.history(model))

    def history(self, model: str) -> list[Change]:
        """Every change of an alias, oldest first."""
        _check_name(model)
        with explained(self.path):
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
            known = listed(f"{alias} = {number}" for alias, number in self.aliases(model).items())
            versions = listed(self.versions(model))
            held = f"versions: {versions}; aliases: {known or 'none'}" if versions else self._others(model)
            raise RegistryError(
                "A bundle is named by a model and one of its versions or aliases",
                observed=f"{model}/{name} in {self.path}; {held}",
                remedy="see `tidemill registry list`, or train the model first",
            )
        return version

    def desired(self, model: str) -> Desired:
        """What replicas shall hold now: from desired.json, or from the history of a registry that has none yet."""
        _check_name(model)
        with explained(self.path):
            content = self._store.read(model, _DESIRED)
        try:
            return rollout.desired(self.history(model)) if content is None else rollout.decode(content)
        except ValueError as error:
            raise RegistryError(
                f"A model's {_DESIRED} is one that the registry wrote",
                observed=f"{self.path}/{model}/{_DESIRED}: {error}",
                remedy="delete the file and repeat the last change (`tidemill registry history` tells it)",
            ) from error

    def champions(self, model: str) -> list[str]:
        """Versions that are or were champion and were not taken back, the present one first."""
        return list(dict.fromkeys(reversed(rollout.stack(self.history(model), Alias.CHAMPION))))

    def state_mark(self, model: str) -> str | None:
        """A text that is another one whenever `desired` may have changed; one look at a file's description."""
        _check_name(model)
        with explained(self.path):
            return self._store.mark(model, _DESIRED) or self._store.mark(model, _ALIASES)

    def toss_secret(self, model: str) -> bytes:
        """What a canary's tosses are keyed with: without it, clients could compute which keys meet the challenger.

        It is made with the first canary and stays, or keys would change sides; empty before.
        """
        _check_name(model)
        with explained(f"{self.path}/{model}"):
            return bytes.fromhex((self._store.read(model, _SECRET) or b"").decode("ascii"))

    @contextmanager
    def fetched(self, model: str, name: str, *, verify: bool = True) -> Iterator[Path]:
        """A folder with the files of a version: the registry's own where it is local, else a copy for the block.

        verify: compare the files with their checksums; a Predictor does so itself.

        Raises:
            BundleError: a file is missing or altered.
        """
        version = self.resolve(model, name)
        with ExitStack() as stack:
            with explained(f"{self.path}/{model}/{version}"):
                folder = stack.enter_context(self._store.fetched(model, version))
            if verify:
                checksums.verify(folder)
            yield folder

    def describe(self, model: str, name: str) -> manifest.Manifest:
        """A version's manifest, without its other files being read."""
        version = self.resolve(model, name)
        with explained(f"{self.path}/{model}/{version}"):
            content = self._store.read(model, f"{version}/{manifest.NAME}")
        return manifest.parse(content, f"{self.path}/{model}/{version}")

    def verify(self, model: str, name: str) -> None:
        """Compare a version's files with their checksums; raises BundleError as `fetched` does."""
        version = self.resolve(model, name)
        with self.fetched(model, version):
            pass
        self._verified.add((model, version))

    def sign(self, model: str, name: str, private_key: Path) -> str:
        """Put a signature into a version, in the place of an earlier one; returns the version.

        Raises:
            BundleError, SettingsError: as `signing.signature`, or a file is missing or altered.
        """
        version = self.resolve(model, name)
        with self.fetched(model, version) as folder:
            content = signing.signature(folder, private_key)
        with explained(f"{self.path}/{model}/{version}/{signing.NAME}"):
            self._store.replace(model, f"{version}/{signing.NAME}", content)
        return version

    def promote(self, model: str, name: str, alias: Alias = Alias.CHAMPION, *, by: str, reason: str) -> str:
        """Let `alias` stand for a version; returns the version.

        Nothing changes where it does so already, but replicas that had refused the version try it again.
        """
        version = self.resolve(model, name)
        self._verify_once(model, version)
        with self._changing(model) as history:
            standing = rollout.aliases(history)
            if alias is Alias.CHALLENGER and standing.get(Alias.CHAMPION) == version:
                raise RegistryError(
                    "A challenger is another version than the champion",
                    observed=f"{model} {version} is champion",
                    remedy="name another version",
                )
            if standing.get(alias) != version:
                history.append(rollout.change(alias, version, Action.PROMOTE, by=by, reason=reason))
        return version

    def rollback(self, model: str, *, by: str, reason: str) -> str:
        """Make the champion before this one champion again; returns its version. Can be repeated."""
        for version in rollout.stack(self.history(model), Alias.CHAMPION)[-2:-1]:
            self._verify_once(model, version)  # before others must wait: it may be far away and large
        with self._changing(model) as history:
            stack = rollout.stack(history, Alias.CHAMPION)
            if len(stack) < 2:
                raise RegistryError(
                    "A rollback needs a champion before the present one",
                    observed=f"{model} had {'only version ' + stack[0] if stack else 'none'} as champion",
                    remedy=f"promote a version: tidemill registry promote {model} VERSION",
                )
            self._verify_once(model, stack[-2])
            history.append(rollout.change(Alias.CHAMPION, stack[-2], Action.ROLLBACK, by=by, reason=reason))
            return stack[-2]

    def set_rollout(self, model: str, mode: Mode, share: float | None = None, *, by: str, reason: str) -> Desired:
        """Say what the challenger does; share: of the requests, for a canary. Returns what is desired now."""
        with self._changing(model) as history:
            state = rollout.desired(history)
            mode, portion = rollout.checked(state, mode, share)
            if (mode, portion) != (state.mode, state.share):
                about = {"mode": str(mode), "share": portion or None}
                challenger = str(state.challenger)
                history.append(
                    rollout.change(Alias.CHALLENGER, challenger, Action.ROLLOUT, by=by, reason=reason, **about)
                )
        return self.desired(model)

    def set_serving(self, model: str, serving: bool, *, by: str, reason: str) -> Desired:
        """Let replicas answer requests, or refuse them all. Returns what is desired now."""
        champion = self.resolve(model, Alias.CHAMPION)
        with self._changing(model) as history:
            if rollout.desired(history).serving != serving:
                action = Action.LOAD if serving else Action.UNLOAD
                history.append(rollout.change(Alias.CHAMPION, champion, action, by=by, reason=reason))
        return self.desired(model)

    def apply(self, model: str, changes: Sequence[Change], *, generation: int) -> bool:
        """Make several changes at once, unless something has changed since `generation`; returns whether it did not.

        Raises:
            BundleError: a file of a version that is named is missing or altered.
            RegistryError: they lead to what no replica can hold.
        """
        for version in sorted({entry.version for entry in changes}):
            self._verify_once(model, version)
        try:
            with self._changing(model) as history:
                if rollout.desired(history).generation != generation:
                    raise _OutdatedError
                history.extend(changes)
                rollout.check(history)
        except _OutdatedError:
            return False
        return True

    def _verify_once(self, model: str, version: str) -> None:
        """Reading a whole bundle again tells nothing new; replicas check it once more before they use it."""
        if (model, version) not in self._verified:
            self.verify(model, version)

    def _others(self, model: str) -> str:
        """What there is in place of a model that is not there."""
        models = self.models()
        near = difflib.get_close_matches(model, models, n=1, cutoff=0.5)
        if near:
            return f"no model of that name; did you mean {near[0]}?"
        return f"the models there are {listed(models)}" if models else "there is no model in it"

    def _has(self, model: str, version: str) -> bool:
        _check_name(model)
        with explained(self.path):
            return self._store.has(model, version)

    @contextmanager
    def _changing(self, model: str) -> Iterator[list[Change]]:
        """The history, written back at once when the block ends well."""
        if not self.versions(model):
            self.resolve(model, Alias.CHAMPION)  # explains what there is
        with explained(f"{self.path}/{model}/{_ALIASES}"), self._store.lock(model):
            history = self.history(model)
            known = len(history)
            yield history
            if any(entry.mode == Mode.CANARY for entry in history[known:]) and self._store.read(model, _SECRET) is None:
                self._store.replace(model, _SECRET, secrets.token_hex(32).encode(), private=True)
            aliases = rollout.aliases(history)
            content = {"format": 1, "aliases": aliases, "history": [change.to_dict() for change in history]}
            self._store.replace(model, _ALIASES, json.dumps(content, indent=2, ensure_ascii=False).encode())
            self._store.replace(model, _DESIRED, rollout.desired(history).encode())


class _OutdatedError(Exception):
    """Others have changed what a change was based on."""


def _check_name(model: str) -> None:
    if not model or not PlainName.holds(model):
        raise RegistryError(f"A model's name is {PlainName.text}", observed=repr(model), remedy="choose another name")
