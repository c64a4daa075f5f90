"""What the policy has watched of a version: its settings checked, its bundle's profile and loss at hand."""

import difflib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tidemill.bundle import folder
from tidemill.bundle.manifest import Identity
from tidemill.bundle.registry.registry import Registry
from tidemill.composition import build, component
from tidemill.data.schema import Schema
from tidemill.errors import BundleError, SettingsError, listed
from tidemill.steward import losses
from tidemill.steward.policy import SHOWN, Policy
from tidemill.steward.watch import Watch, Watched

PACKAGE = "tidemill.steward.watches"


def watches(policy: Policy) -> dict[str, Callable[[Watched], Watch]]:
    """By the name of each watch, the function that builds it for a version.

    Raises:
        SettingsError: no such watch, or a setting of it breaks its rule; names the key.
    """
    found: dict[str, Callable[[Watched], Watch]] = {}
    for name, mapping in policy.watches.items():
        module = component(PACKAGE, name, having="build", key="watches")
        found[name] = partial(module.build, build(module.Settings, mapping, prefix=f"watches.{name}", shown=SHOWN))
    return found


def watched_version(policy: Policy, registry: Registry, model: str, version: str) -> Watched:
    """What watches need to know of a version.

    Raises:
        RegistryError, BundleError: there is no such version, or it is incomplete.
        SettingsError: the policy's loss does not fit the model, or a guarded column is none of it.
    """
    described = registry.describe(model, version)
    _check_columns("trial.slices", policy.trial.slices, described.schema, f"version {version} of {model}")
    with registry.fetched(model, version, verify=False) as place:
        profile = _profile(place / folder.PROFILE)
    return Watched(manifest=described, profile=profile, losses=losses.make(policy.losses, described.identity))


def unwatched(policy: Policy, columns: Collection[str]) -> Policy:
    """The policy, with these columns left out by each watch that has a setting for it."""
    watched = {
        name: {**settings, "unwatched": sorted({*settings["unwatched"], *columns})}
        if "unwatched" in settings
        else settings
        for name, settings in policy.watches.items()
    }
    return replace(policy, watches=watched)


def check(policy: Policy, schema: Schema, identity: Identity) -> None:
    """Whether a policy fits a model that is still to be trained.

    Raises:
        SettingsError: an unknown watch or setting, a loss that does not fit, or a named column that is none of it.
    """
    watches(policy)
    losses.make(policy.losses, identity)
    named = {"trial.slices": policy.trial.slices}
    for watch, settings in policy.watches.items():
        named |= {f"watches.{watch}.{key}": settings[key] for key in ("slices", "unwatched") if key in settings}
    for key, columns in named.items():
        _check_columns(key, columns, schema, identity.model)


def _check_columns(key: str, columns: Sequence[str], schema: Schema, whose: str) -> None:
    names = [column.name for column in schema.columns]
    for column in columns:
        if column not in names:
            near = difflib.get_close_matches(column, names, n=1)
            raise SettingsError(
                f"{key} names columns of the model's table",
                observed=f"{column!r}, which {whose} does not have",
                remedy=f"did you mean {near[0]}?" if near else f"name one of {listed(names)}",
            )


def _profile(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return {"inputs": content["inputs"], "answers": content["answers"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            "A version that is watched has a profile of what it was trained with",
            observed=f"{file}: {type(error).__name__}: {error}",
            remedy="train the model again with this release, and promote the new version",
        ) from error
