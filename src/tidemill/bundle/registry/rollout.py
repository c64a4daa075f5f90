"""What shall be served: the history of a model's changes, and the one small file that follows from it.

The history is the truth and only grows. `desired` folds it into `Desired`, which the registry keeps beside it as
desired.json: replicas look at that file twice a second, so it stays small and is replaced as a whole.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from tidemill.bundle.registry.store import is_version
from tidemill.composition import Conflict, build
from tidemill.errors import RegistryError, SettingsError


class Alias(StrEnum):
    CANDIDATE = "candidate"
    CHALLENGER = "challenger"
    CHAMPION = "champion"


class Mode(StrEnum):
    """What a challenger does: nothing, answer for the record alone, or answer a share of the requests."""

    OFF = "off"
    SHADOW = "shadow"
    CANARY = "canary"


class Action(StrEnum):
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    ROLLOUT = "rollout"
    LOAD = "load"
    UNLOAD = "unload"


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One entry of the history. at: UTC, ISO 8601. mode, share: of a rollout; `version` is then the challenger."""

    alias: str
    version: str
    action: str
    at: str
    by: str
    reason: str
    mode: str | None = None
    share: float | None = None

    def __post_init__(self) -> None:
        if self.mode is not None:
            Mode(self.mode)
        if not (isinstance(self.version, str) and is_version(self.version)):  # it becomes a folder's name
            raise ValueError(f"{self.version!r:.60} is no version's number")

    def to_dict(self) -> dict[str, Any]:
        """Plain values; what only a rollout has is left out of other entries."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, kw_only=True, slots=True)
class Desired:
    """What every replica of a model shall hold.

    generation: grows by 1 with each change of what is here. share: of the requests that a canary answers, else 0.
    previous: where a rollback leads. rolled_back: the champion is one by a rollback, so it served before.
    serving: false refuses all requests. at, by, reason: of the last change.
    """

    generation: int
    champion: str | None = None
    challenger: str | None = None
    mode: Mode = Mode.OFF
    share: float = 0.0
    serving: bool = True
    previous: str | None = None
    rolled_back: bool = False
    at: str = ""
    by: str = ""
    reason: str = ""

    def conflicts(self) -> Iterator[Conflict]:
        for name in ("champion", "challenger", "previous"):
            version = getattr(self, name)
            if version is not None and not is_version(version):  # it becomes a folder's name
                yield Conflict(name, str(version)[:60], "must be a version's number")
        if self.mode is not Mode.OFF and self.challenger in (None, self.champion):
            yield Conflict("challenger", self.challenger, f"{self.mode} needs one beside the champion")
        if (0 < self.share < 1) != (self.mode is Mode.CANARY):
            yield Conflict("share", self.share, "must be greater than 0 and less than 1 for a canary, else 0")

    def encode(self) -> bytes:
        return json.dumps({"format": 1, **asdict(self)}, indent=2, ensure_ascii=False).encode()


def decode(content: bytes) -> Desired:
    """The inverse of `Desired.encode`.

    Raises:
        ValueError: it is anything else.
    """
    values = json.loads(content)
    if not isinstance(values, dict) or values.pop("format", None) != 1:
        raise ValueError("format 1 was expected")
    try:
        return build(Desired, values)
    except SettingsError as error:
        raise ValueError(error.observed.strip()) from error


def change(alias: Alias, version: str, action: Action, *, by: str, reason: str, **rollout: Any) -> Change:
    """A change that happens now."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Change(alias=str(alias), version=version, action=str(action), at=now, by=by, reason=reason, **rollout)


def desired(history: Sequence[Change]) -> Desired:
    """What the changes, oldest first, lead to."""
    state = Desired(generation=0)
    for count, entry in enumerate(history, 1):
        after = {**_named(state), **_effect(state, entry, history[:count])}
        if after != _named(state):
            generation = state.generation + 1
            state = Desired(generation=generation, **after, at=entry.at, by=entry.by, reason=entry.reason)
    return state


def check(history: Sequence[Change]) -> None:
    """Raises: RegistryError, where changes lead to what no replica can hold."""
    for conflict in desired(history).conflicts():
        raise RegistryError(
            "What is desired of replicas can be held by them",
            observed=f"{conflict.key} = {conflict.got}: {conflict.rule}",
            remedy="name another version",
        )


def aliases(history: Sequence[Change]) -> dict[str, str]:
    """Alias → version. A challenger that has become champion is challenger no more."""
    found = {entry.alias: entry.version for entry in history}
    if desired(history).challenger is None:
        found.pop(Alias.CHALLENGER, None)
    return found


def stack(history: Sequence[Change], alias: Alias) -> list[str]:
    """Versions that `alias` stood for and may come back to, the present one last."""
    versions: list[str] = []
    for entry in history:
        if entry.alias == alias and entry.action == Action.ROLLBACK:
            del versions[-1:]
        elif entry.alias == alias and entry.action == Action.PROMOTE and versions[-1:] != [entry.version]:
            versions.append(entry.version)
    return versions


def checked(state: Desired, mode: Mode, share: float | None) -> tuple[Mode, float]:
    """A rollout that `state` allows.

    Raises:
        RegistryError: there is no challenger, or the share does not fit the mode.
    """
    if mode is not Mode.OFF and state.challenger is None:
        raise RegistryError(
            "A rollout is about a challenger",
            observed="the model has none",
            remedy="name one first: tidemill registry promote MODEL VERSION --to challenger",
        )
    portion = 0.0 if share is None else share
    if not (0 < portion < 1 if mode is Mode.CANARY else share is None):
        raise RegistryError(
            "A canary has a share greater than 0 and less than 1, other modes have none",
            observed=f"mode {mode} with {'no share' if share is None else f'share {share}'}",
            remedy="give --share 0.1 with --mode canary only; to answer everything, promote the challenger",
        )
    return mode, portion


def _named(state: Desired) -> dict[str, Any]:
    """What is desired, without which change it came from."""
    signed = ("generation", "at", "by", "reason")
    return {field.name: getattr(state, field.name) for field in fields(state) if field.name not in signed}


def _effect(state: Desired, entry: Change, until: Sequence[Change]) -> dict[str, Any]:
    """The fields that one change sets. A rollout belongs to its challenger: another one begins without."""
    off = {"mode": Mode.OFF, "share": 0.0}
    if entry.action == Action.ROLLOUT:
        return {"mode": Mode(entry.mode or Mode.OFF), "share": entry.share or 0.0}
    if entry.action in (Action.LOAD, Action.UNLOAD):
        return {"serving": entry.action == Action.LOAD}
    if entry.alias == Alias.CHALLENGER and entry.version != state.challenger:
        return {"challenger": entry.version, **off}
    if entry.alias == Alias.CHAMPION:
        before = stack(until, Alias.CHAMPION)[-2:-1]
        moved = {
            "champion": entry.version,
            "previous": before[0] if before else None,
            "rolled_back": entry.action == Action.ROLLBACK,
        }
        return {**moved, "challenger": None, **off} if entry.version == state.challenger else moved
    return {}
