"""What can be set of serving: `args` of serving/config.yaml, and `key=value` behind `tidemill serve`."""

import difflib
import os
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pydantic
import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
)

from tidemill.errors import SettingsError
from tidemill.ledger.settings import LedgerSettings
from tidemill.secrets import hidden, mask
from tidemill.serve.answering.batcher import Queues
from tidemill.serve.wire.refusals import Limits

_LEDGER = "ledger"


class Arguments(BaseModel):
    """Settings of one model's serving; a key that is not among these is an error.

    registry, model: what is served; alias: `champion` follows the registry, a version's number stays with that version.
    provider, threads: of ONNX Runtime; threads None: the replica's share of cores.
    replicas, cpus: how many, and cores for each; maximum: above `replicas`, the queue decides how many.
    public_key: only bundles signed with its private key are loaded.
    keys: file of API keys; None lets everybody in.
    watch_seconds: between looks at the registry.
    hosts: without keys, a server on loopback answers requests for its own names, and for these.
    here: gRPC answers this machine only, as its ports cannot be bound to one interface; `tidemill serve` sets it.
    profile_hours: live profiles (`/profile`) are kept of so many hours; 0: none are made.
    observers: `package.module:Class` or `file.py:Class`, each with its options.
    """

    model_config = ConfigDict(extra="forbid")

    registry: str
    model: str
    alias: str = "champion"
    provider: str = "cpu"
    threads: PositiveInt | None = None
    replicas: PositiveInt = 1
    maximum: PositiveInt | None = None
    cpus: PositiveFloat = 1.0
    public_key: Path | None = None
    keys: Path | None = None
    watch_seconds: PositiveFloat = 0.5
    drain_seconds: NonNegativeFloat = 20.0
    limits: Limits = Limits()
    queues: Queues = Queues()
    ledger: LedgerSettings = LedgerSettings(path=_LEDGER)
    hosts: tuple[str, ...] = ()
    here: bool = False
    profile_hours: NonNegativeInt = 48
    observers: dict[str, dict[str, Any]] = Field(default_factory=dict)

    def __repr__(self) -> str:
        """Without passwords, wherever settings have them: it may come into a log, as Ray's of a replica that fails."""
        return f"Arguments({hidden(self.model_dump(mode='json'))})"

    __str__ = __repr__

    @field_validator("limits", "queues")
    @classmethod
    def _above_zero(cls, given: Any, about: ValidationInfo) -> Any:
        for field in fields(given):
            value = getattr(given, field.name)
            if not value > 0:
                raise ValueError(f"{about.field_name}.{field.name} must be greater than 0, not {value}")
        return given

    @field_validator("maximum")
    @classmethod
    def _room_to_grow(cls, given: int | None, about: ValidationInfo) -> int | None:
        replicas = about.data.get("replicas", 1)  # not there: it is wrong itself
        if given is not None and given < replicas:
            raise ValueError(f"maximum must be replicas ({replicas}) or more")
        return given

    @field_validator("ledger", mode="before")
    @classmethod
    def _somewhere(cls, given: Any) -> Any:
        """Whoever sets only another key of the ledger's means the usual place."""
        return {"path": _LEDGER, **given} if isinstance(given, dict) else given

    def absolute(self, folder: str) -> "Arguments":
        """The same with every local path seen from `folder`: replicas may run in another one."""

        def seen(path: str | Path | None) -> str | None:
            return None if path is None else str(path) if "://" in str(path) else os.path.join(folder, path)  # noqa: PTH118

        ledger = replace(
            self.ledger,
            path=seen(self.ledger.path),
            wal=seen(self.ledger.wal),
            hash_key_file=seen(self.ledger.hash_key_file),
        )
        paths = {name: Path(found) for name in ("keys", "public_key") if (found := seen(getattr(self, name)))}
        observers = {
            seen(spec) or spec if ".py:" in spec else spec: options for spec, options in self.observers.items()
        }
        changed = {"registry": seen(self.registry), "ledger": ledger, "observers": observers, **paths}
        return self.model_copy(update=changed)


def parse(given: dict[str, Any], changes: Sequence[str] = ()) -> Arguments:
    """Settings from plain values, with `key=value` texts on top (`limits.rows=100`; values are YAML).

    Raises:
        SettingsError: an unknown key, a wrong type, a value out of range; names all of them.
    """
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals or not key:
            rule = "A setting is given as key=value"
            raise SettingsError(rule, observed=repr(mask(change)), remedy="write it like limits.rows=100")
        *path, name = key.split(".")
        place = given
        for step in path:
            place = place.setdefault(step, {})
            if not isinstance(place, dict):
                raise SettingsError(
                    "A key leads to a setting", observed=key, remedy=f"{step} is one value, not several"
                )
        try:
            place[name] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            rule = "A setting's value is YAML"
            raise SettingsError(rule, observed=mask(change), remedy="put it into quotes, like 'name=\"[x\"'") from error
    try:
        return Arguments.model_validate(given)
    except pydantic.ValidationError as error:
        raise SettingsError(
            "The settings of serving are those of tidemill.serve.arguments.Arguments",
            observed="; ".join(
                mask(f"{'.'.join(map(str, e['loc']))}: {e['msg']} (got {hidden(e['input'])!r:.500})")
                for e in error.errors()
            ),
            remedy=_nearest(error),
        ) from error


def _key(entry: Any) -> str:
    return ".".join(map(str, entry["loc"]))


def _nearest(error: pydantic.ValidationError) -> str:
    known = [*Arguments.model_fields, *(f"limits.{name}" for name in Limits.__dataclass_fields__)]
    known += [f"queues.{name}" for name in Queues.__dataclass_fields__]
    known += [f"ledger.{name}" for name in LedgerSettings.__dataclass_fields__]
    unknown = [_key(entry) for entry in error.errors() if "Extra" in entry["msg"] or "Unexpected" in entry["msg"]]
    if not unknown:
        return "correct the values"
    near = [match for key in unknown for match in difflib.get_close_matches(key, known, n=1)]
    return f"did you mean {', '.join(dict.fromkeys(near))}?" if near else f"the keys are {', '.join(known)}"
