"""What can be set of serving: `args` of serving/config.yaml, and `key=value` behind `tidemill serve`."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import yaml

from tidemill.composition import Conflict, build
from tidemill.errors import SettingsError
from tidemill.ledger.settings import LedgerSettings
from tidemill.secrets import hidden, mask
from tidemill.serve.answering.batcher import Queues
from tidemill.serve.wire.refusals import Limits
from tidemill.settings.rules import AtLeastOne, NotNegative, Positive

_LEDGER = "ledger"


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
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

    registry: str
    model: str
    alias: str = "champion"
    provider: str = "cpu"
    threads: Annotated[int, AtLeastOne] | None = None
    replicas: Annotated[int, AtLeastOne] = 1
    maximum: Annotated[int, AtLeastOne] | None = None
    cpus: Annotated[float, Positive] = 1.0
    public_key: Path | None = None
    keys: Path | None = None
    watch_seconds: Annotated[float, Positive] = 0.5
    drain_seconds: Annotated[float, NotNegative] = 20.0
    limits: Limits = field(default_factory=Limits)
    queues: Queues = field(default_factory=Queues)
    ledger: LedgerSettings = field(default_factory=lambda: LedgerSettings(path=_LEDGER))
    hosts: tuple[str, ...] = ()
    here: bool = False
    profile_hours: Annotated[int, NotNegative] = 48
    observers: Mapping[str, dict[str, Any]] = field(default_factory=dict)

    def conflicts(self) -> Iterator[Conflict]:
        if self.maximum is not None and self.maximum < self.replicas:
            yield Conflict("maximum", self.maximum, f"must be replicas ({self.replicas}) or more")

    def __repr__(self) -> str:
        """Without passwords, wherever settings have them: it may come into a log, as Ray's of a replica that fails."""
        return f"Arguments({hidden(asdict(self))})"

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
        changed: dict[str, Any] = {"registry": seen(self.registry), "ledger": ledger, "observers": observers, **paths}
        return replace(self, **changed)


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
    if isinstance(given.get(_LEDGER), Mapping):  # whoever sets only another key of the ledger's means the usual place
        given = {**given, _LEDGER: {"path": _LEDGER, **given[_LEDGER]}}
    return build(Arguments, given, shown="docs/serving.md says where each key is explained")
