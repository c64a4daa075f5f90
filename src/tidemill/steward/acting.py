"""Decisions and the registry: which changes a decision makes, and what the registry's history says of decisions.

All changes of a decision are made at once, in the state of the registry that it was made for, or never.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tidemill.bundle.registry import rollout
from tidemill.bundle.registry.registry import Registry
from tidemill.bundle.registry.rollout import Action, Alias, Change, Desired, Mode
from tidemill.errors import RegistryError
from tidemill.steward.book import Decision, Kind
from tidemill.steward.policy import Policy


def in_force(decisions: Sequence[Decision]) -> list[Decision]:
    """Decisions that are to be carried out: those that waited for nobody, and those that somebody approved."""
    approved = {one.refers for one in decisions if one.kind is Kind.APPROVE}
    return [one for one in decisions if one.kind is not Kind.APPROVE and (not one.proposed or one.number in approved)]


def waiting(decisions: Sequence[Decision], generation: int) -> list[Decision]:
    """The proposal that somebody may approve: the newest for the present state of the registry, if not in force yet."""
    done = in_force(decisions)
    begun = {one.same for one in done}
    newest = [one for one in decisions if one.proposed and one.generation == generation][-1:]
    return [one for one in newest if one not in done and one.same not in begun]


def due(decisions: Sequence[Decision], desired: Desired, policy: Policy) -> Decision | None:
    """The decision that the registry does not show yet: made for its present state, and not carried out."""
    for one in reversed(in_force(decisions)):
        if one.generation == desired.generation and changes(one, desired, policy):
            return one
    return None


def carry_out(registry: Registry, model: str, decision: Decision, desired: Desired, policy: Policy) -> bool:
    """Change the registry; False where somebody has changed it since: then the decision is void.

    Raises:
        RegistryError, BundleError: the version is not there, or altered.
    """
    return registry.apply(model, changes(decision, desired, policy), generation=decision.generation)


def signature(decision: Decision) -> str:
    """Who the registry's history says a change was made by."""
    return f"{decision.by}, decision {decision.number}"


def changes(decision: Decision, desired: Desired, policy: Policy) -> list[Change]:
    """What a decision changes in the state `desired`; nothing for those that are not about what is served."""
    by, reason, version = signature(decision), decision.reason, str(decision.version)

    def entry(alias: Alias, named: str, action: Action, mode: Mode | None = None, share: float | None = None) -> Change:
        return rollout.change(alias, named, action, by=by, reason=reason, mode=mode and str(mode), share=share)

    def challenge(named: str, mode: Mode, share: float | None = None) -> list[Change]:
        return [
            entry(Alias.CHALLENGER, named, Action.PROMOTE),
            entry(Alias.CHALLENGER, named, Action.ROLLOUT, mode, share),
        ]

    match decision.kind:
        case Kind.SHADOW:
            return challenge(version, Mode.SHADOW)
        case Kind.CANARY:
            return challenge(version, Mode.CANARY, decision.share)
        case Kind.PROMOTE:
            replaced = desired.champion
            probation = challenge(str(replaced), Mode.SHADOW) if policy.trial.probation and replaced else []
            return [entry(Alias.CHAMPION, version, Action.PROMOTE), *probation]
        case Kind.ROLLBACK:
            return [entry(Alias.CHAMPION, version, Action.ROLLBACK)]
        case Kind.DROP | Kind.KEEP if decision.retraining is None:
            return [entry(Alias.CHALLENGER, str(desired.challenger), Action.ROLLOUT, Mode.OFF)]
    return []


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
    made = {signature(one): one for one in decisions if one.kind is Kind.CANARY}
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
