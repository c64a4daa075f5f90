"""What is read from the registry's history: since when a champion or a trial is there, and which decision began it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tidemill.bundle.registry import rollout
from tidemill.bundle.registry.registry import Registry
from tidemill.bundle.registry.rollout import Action, Alias, Change, Desired, Mode
from tidemill.errors import RegistryError
from tidemill.steward import acting
from tidemill.steward.book import Decision, Kind


def compared_since(desired: Desired, history: Sequence[Change]) -> datetime:
    """When the versions, and what the challenger may do, became what they are."""

    def about(state: Desired) -> tuple[Any, ...]:
        return state.champion, state.challenger, state.mode, state.share, state.previous

    since = desired.at
    for count in range(len(history) - 1, 0, -1):
        state = rollout.desired(history[:count])
        if about(state) != about(desired):
            break
        since = state.at
    return datetime.fromisoformat(since)


def canary_decision(decisions: Sequence[Decision], history: Sequence[Change]) -> Decision | None:
    """The decision that let the canary answer, where both versions are still the ones that it compared."""
    made = {acting.signature(one): one for one in decisions if one.kind is Kind.CANARY}
    for change in reversed(history):
        if change.by in made:
            return made[change.by]
        crowned = change.alias == Alias.CHAMPION and change.action in (Action.PROMOTE, Action.ROLLBACK)
        if crowned or (change.alias == Alias.CHALLENGER and change.mode != Mode.CANARY):
            return None
    return None


def crowned(registry: Registry, model: str, champion: str) -> datetime:
    """When a version became champion last.

    Raises:
        RegistryError: its history does not tell.
    """
    changes = [
        change.at
        for change in registry.history(model)
        if change.alias == Alias.CHAMPION
        and change.version == champion
        and change.action in (Action.PROMOTE, Action.ROLLBACK)
    ]
    if not changes:
        raise RegistryError(
            "A model's history tells when its champion became one",
            observed=f"nothing of {model} {champion} in {registry.path}",
            remedy=f"promote it once more: tidemill registry promote {model} {champion}",
        )
    return datetime.fromisoformat(changes[-1])
