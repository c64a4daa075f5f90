"""Which two versions a trial compares, in which stage, and the question of that stage."""

from dataclasses import dataclass
from enum import StrEnum

from tidemill.steward.evidence.paired import Question
from tidemill.steward.evidence.sequential import Plan
from tidemill.steward.policy import TrialSettings


class Stage(StrEnum):
    SHADOW = "shadow"
    CANARY = "canary"
    PROBATION = "probation"


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Who is compared with whom. tried: on trial; other: what it is compared with; share: of the traffic, as canary."""

    stage: Stage
    tried: str
    other: str
    share: float

    @property
    def challenger(self) -> str:
        return self.other if self.stage is Stage.PROBATION else self.tried

    @property
    def champion(self) -> str:
        return self.tried if self.stage is Stage.PROBATION else self.other


def question(rules: TrialSettings, stage: Stage) -> Question:
    plan = None
    if rules.looks is not None and rules.maximum is not None and stage is Stage.SHADOW:
        plan = Plan(horizon=rules.maximum, looks=rules.looks, spending=rules.spending)
    return Question(
        alpha=rules.alpha,
        against=rules.alpha / rules.stages / 2,
        margin=rules.margin,
        superiority=rules.superiority,
        gain=rules.gain,
        plan=plan,
    )
