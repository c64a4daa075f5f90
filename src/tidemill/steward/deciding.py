"""What to do about a model: a function from what is known to one proposal, or none. It reads and writes nothing.

Alarms advise, gates decide: a version becomes champion by its trial alone; harm begins a retraining, drift nothing.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import takewhile
from typing import Any

from tidemill.bundle.registry.rollout import Desired
from tidemill.steward import labels
from tidemill.steward.acting import in_force
from tidemill.steward.book import Decision, Kind
from tidemill.steward.evidence.paired import Verdict
from tidemill.steward.policy import Policy
from tidemill.steward.retraining.readiness import Readiness
from tidemill.steward.retraining.retraining import Phase, State
from tidemill.steward.snapshots import plain
from tidemill.steward.trial.checked import CheckedTrial
from tidemill.steward.trial.comparison import Stage
from tidemill.steward.watch import Reading, Severity

MONTH = timedelta(days=30)
DOUBLINGS = 5
"""So often at most the pause is doubled after retrainings that came to nothing."""
LOSS_CHECKS = ("performance",)
"""Checks whose harm a newly trained model can mend; others (a column gone missing) want a person."""
_BEGINS = " So a new model is trained; its trial decides about it."
_ENDS = "Its trial ends, and the champion stays."


@dataclass(frozen=True, kw_only=True, slots=True)
class Situation:
    """All that a decision rests on.

    moment: up to which labelled records are weighed, by the policy's clock. began: where its weighing began.
    trial: of the challenger, if there is one. alarms: of the last period.
    retraining: the name of the one that was begun last and is not decided about yet, and how it ended, once it has.
    """

    moment: datetime
    began: datetime
    desired: Desired
    decisions: Sequence[Decision]
    trial: CheckedTrial | None = None
    alarms: Sequence[Reading] = ()
    retraining: tuple[str, State | None] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """What a decision will say, but for its number and time."""

    kind: Kind
    reason: str
    version: str | None = None
    share: float | None = None
    retraining: str | None = None
    evidence: dict[str, Any] = field(default_factory=dict)


def propose(policy: Policy, now: Situation) -> Proposal | None:
    """The next thing to do."""
    if now.desired.champion is None or not now.desired.serving:
        return None
    if now.trial is not None:
        return (
            _of_probation(policy, now.trial)
            if now.trial.comparison.stage is Stage.PROBATION
            else _of_trial(policy, now.trial)
        )
    if now.retraining is not None:
        name, outcome = now.retraining
        return _of_retraining(policy, name, outcome, now.desired.champion) if outcome is not None else None
    return _of_triggers(policy, now)


def _of_trial(policy: Policy, trial: CheckedTrial) -> Proposal | None:
    verdict, guard = trial.verdict()
    about = trial.figures()
    proposal = partial(Proposal, version=trial.comparison.tried, evidence=about)
    if guard:
        return proposal(kind=Kind.DROP, reason=f"A guardrail is broken: {guard}. {_ENDS}")
    said, sure = _said(about), _sure(_beyond(about, verdict), policy.trial.alpha)
    reasons = {
        Verdict.WORSE: f"It is shown to be worse: {said}. {sure} {_ENDS}",
        Verdict.FUTILE: f"The gain of {policy.trial.gain} that was hoped for is not there: {said}. {sure} {_ENDS}",
        Verdict.INCONCLUSIVE: f"Inconclusive on {about['records_in_all_stages']:,} records, neither is shown to be "
        f"better: {said}. {_ENDS}",
    }
    if verdict in reasons:
        return proposal(kind=Kind.DROP, reason=reasons[verdict])
    canary = trial.comparison.stage is Stage.CANARY
    if verdict is not Verdict.BETTER or (canary and trial.taken < policy.trial.stage_minimum):
        return None
    share = next((share for share in policy.trial.canary if share > trial.comparison.share), None)
    shown = "better" if policy.trial.superiority else f"no worse by more than {policy.trial.margin:g}"
    if share is None:
        back = f"; version {about['against']} can come back for {policy.trial.probation:,} records more"
        follows = f"It becomes champion{back if policy.trial.probation else ''}."
        return proposal(kind=Kind.PROMOTE, reason=f"It is shown to be {shown}: {said}. {sure} {follows}")
    reason = f"It is shown to be {shown} so far: {said}. {sure} Next it answers {share:.1%} of the requests."
    return proposal(kind=Kind.CANARY, share=share, evidence={**about, "carried": plain(trial.carried())}, reason=reason)


def _of_probation(policy: Policy, trial: CheckedTrial) -> Proposal | None:
    verdict, guard = trial.verdict()
    about = trial.figures()
    if verdict is Verdict.WORSE:
        sure = "" if guard else f" {_sure(_beyond(about, verdict), policy.trial.alpha)}"
        reason = (
            f"It does harm: {guard or _said(about)}.{sure} Version {trial.comparison.other} becomes champion again."
        )
        return Proposal(kind=Kind.ROLLBACK, version=trial.comparison.other, evidence=about, reason=reason)
    if trial.taken >= policy.trial.probation:
        reason = f"No harm in {trial.taken:,} records: {_said(about)}. It stays champion."
        return Proposal(kind=Kind.KEEP, version=trial.comparison.tried, evidence=about, reason=reason)
    return None


def _of_retraining(policy: Policy, name: str, outcome: State, champion: str | None) -> Proposal:
    evidence = {"reasons": list(outcome.reasons)}
    crowned = outcome.version is not None and outcome.version == champion
    if crowned or not outcome.passed:
        failed = outcome.phase is Phase.FAILED
        why = f"It failed: {outcome.why}" if failed else f"The gate refuses it: {' '.join(outcome.reasons)}"
        why = "Somebody has made it champion already" if crowned else why
        reason = f"{why.rstrip('.')}. Nothing changes."
        return Proposal(kind=Kind.DROP, version=outcome.version, retraining=name, evidence=evidence, reason=reason)
    kind, share = (Kind.SHADOW, None) if policy.trial.shadow else (Kind.CANARY, policy.trial.canary[0])
    follows = f"answers {share:.1%} of the requests" if share else "answers beside the champion, for the record alone"
    reason = f"The gate passes it: {' '.join(outcome.reasons)} Its trial begins: it {follows}."
    return Proposal(kind=kind, version=outcome.version, share=share, retraining=name, evidence=evidence, reason=reason)


def _of_triggers(policy: Policy, now: Situation) -> Proposal | None:
    rules = policy.triggers
    begun = [one for one in in_force(now.decisions) if one.kind is Kind.RETRAIN]
    last = begun[-1].moment if begun else None
    wanted, evidence = _wanted(policy, now, last)
    if wanted is None:
        return None
    doubtful = next((one for one in now.alarms if one.check == labels.CONTRADICTED), None)
    if doubtful is not None:
        reason = f"{wanted} No new model is trained yet, as labels contradict each other: {doubtful.says}"
        return Proposal(kind=Kind.HOLD, version=now.desired.champion, evidence=evidence, reason=reason)
    failed = _failed(begun, now.decisions)
    pause = max(rules.cooldown_days, rules.backoff_days * 2 ** min(failed - 1, DOUBLINGS) if failed else 0.0)
    cool = last is not None and now.moment - last < timedelta(days=pause)
    spent = sum(now.moment - one.moment < MONTH for one in begun)
    if cool or spent >= rules.budget:
        why = (
            f"the last one began {last:%Y-%m-%d %H:%M}, and between two lie {pause:g} days"
            + (f" after {failed} that came to nothing" if pause > rules.cooldown_days else "")
            if cool
            else (f"{spent} of {rules.budget} retrainings within 30 days are spent")
        )
        version, reason = now.desired.champion, f"{wanted} No new model is trained yet: {why}."
        return Proposal(kind=Kind.HOLD, version=version, evidence=evidence, reason=reason)
    name, reason = f"retraining-{1 + len(begun)}", f"{wanted}{_BEGINS}"
    return Proposal(kind=Kind.RETRAIN, retraining=name, evidence=evidence, reason=reason)


def gain(evidence: Mapping[str, Any]) -> float:
    """By how much a retraining may be expected to lower the loss: half of what it has risen by, over all records."""
    whole = evidence.get("check") in LOSS_CHECKS and not evidence.get("subject")
    return max(0.0, float(evidence["effect"])) / 2 if whole else 0.0


def unready(wanted: Proposal, found: Readiness, champion: str | None) -> Proposal:
    """Instead of a retraining that could not be decided: what it waits for."""
    reason = wanted.reason.removesuffix(_BEGINS) + f" No new model is trained yet: {found.why}."
    evidence = {**wanted.evidence, "records_needed": found.needed, "records_present": found.present}
    return Proposal(kind=Kind.HOLD, version=champion, evidence=evidence, reason=reason)


def _failed(begun: Sequence[Decision], decisions: Sequence[Decision]) -> int:
    """How many of the last retrainings, one after the other, failed or were refused by the gate."""
    lost = {one.retraining for one in decisions if one.kind is Kind.DROP}
    return len(list(takewhile(lambda one: one.retraining in lost, reversed(begun))))


def _wanted(policy: Policy, now: Situation, last: datetime | None) -> tuple[str | None, dict[str, Any]]:
    """Why to train anew, and the numbers."""
    rules = policy.triggers
    harm = [one for one in now.alarms if one.severity is Severity.HARM and one.check in LOSS_CHECKS]
    if rules.on_harm and harm:
        worst = max(harm, key=lambda one: one.log_e - one.log_threshold)
        evidence = {"check": worst.check, "subject": worst.subject, "log_e": worst.log_e, "effect": worst.effect}
        alpha = policy.watches.get(worst.check, {}).get("alpha", math.exp(-worst.log_threshold))
        said = f"{worst.says} {_sure(worst.log_e - worst.log_threshold, alpha)}"
        return said, {**evidence, "log_threshold": worst.log_threshold}
    since = last or now.began
    if rules.every_days is not None and now.moment - since >= timedelta(days=rules.every_days):
        days = (now.moment - since) / timedelta(days=1)
        return f"{days:.1f} days since {'the last retraining' if last else 'the first answers'}.", {"days": days}
    return None, {}


def _said(about: dict[str, Any]) -> str:
    every = about["records_in_all_stages"]
    whole = f", {about['difference_in_all_stages']:+.4f} on all {every:,} so far" if every > about["records"] else ""
    return (
        f"its {about['metric']} is {about['tried_loss']:.4f} against {about['against_loss']:.4f} of version "
        f"{about['against']} on {about['records']:,} records ({about['stage']}){whole}"
    )


def _beyond(about: dict[str, Any], verdict: Verdict) -> float:
    """Evidence for a verdict beyond its threshold, natural log."""
    name = str(verdict)
    return float(about["log_e"][name] - about["log_thresholds"][name]) if name in about["log_e"] else 0.0


def _sure(beyond: float, alpha: float) -> str:
    """How seldom chance alone would show as much: by alpha at the threshold, and by the evidence beyond it.

    What was shown once stays so, though later records weaken it.
    """
    odds = min(math.exp(min(max(beyond, 0.0), 20.0)) / alpha, 1e6)
    return f"Chance alone would show this in at most 1 of {odds:,.0f} cases."
