"""Evidence between two models: a challenger's loss minus the champion's, paired in shadow or weighted in an A/B test.

Everything is about the mean of that difference, negative where the challenger is better:

    better      refutes "the mean is at least 0" (superiority) or "at least the margin" (non-inferiority)
    worse       refutes "the mean is at most the margin"
    futile      refutes "the mean is at most −gain": the gain that was hoped for is not there
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from tidemill.errors import SettingsError
from tidemill.steward.evidence.betting import MeanEvidence
from tidemill.steward.evidence.limits import require_positive, require_share, within
from tidemill.steward.evidence.sequential import Plan, PlannedTest


class Verdict(StrEnum):
    """What the evidence says so far."""

    UNDECIDED = "undecided"
    BETTER = "better"
    WORSE = "worse"
    FUTILE = "futile"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What is asked about a challenger.

    alpha: probability with which "better" may be wrong, ever.
    against: the same of "worse" and "futile" together, in this stage, for one that is within the margin and has the
        gain; None: alpha.
    margin: mean difference in loss within which the challenger counts as no worse.
    superiority: whether it must be better than the champion, rather than worse by less than the margin.
    gain: the smallest improvement worth waiting for; None never gives up early.
    plan: looks that are fixed in advance; None: one may look at any time.
    """

    alpha: float = 0.05
    against: float | None = None
    margin: float = 0.0
    superiority: bool = True
    gain: float | None = None
    plan: Plan | None = None

    def __post_init__(self) -> None:
        require_share("alpha", self.alpha)
        if self.against is not None:
            require_share("against", self.against)
        if not self.superiority:
            require_positive("The margin of non-inferiority", self.margin)
        if self.margin < 0 or (self.gain is not None and self.gain <= 0):
            raise SettingsError(
                "The margin is 0 or greater and the gain greater than 0",
                observed=f"margin {self.margin:g}, gain {self.gain}",
                remedy="give both as sizes, without a sign",
            )

    @property
    def nulls(self) -> dict[str, tuple[float, bool]]:
        """What each test would show → the mean that it refutes, and whether by a larger one."""
        found = {"better": (0.0 if self.superiority else self.margin, False), "worse": (self.margin, True)}
        return found if self.gain is None else {**found, "futile": (-self.gain, True)}

    @property
    def alphas(self) -> dict[str, float]:
        """What each test would show → the probability with which it may do so wrongly, ever."""
        against = (self.alpha if self.against is None else self.against) / (len(self.nulls) - 1)
        return {name: self.alpha if name == Verdict.BETTER else against for name in self.nulls}


def _empty() -> dict[str, MeanEvidence | PlannedTest]:
    return {}


@dataclass(kw_only=True, slots=True)
class DifferenceEvidence:
    """The tests of a question, over differences in [−reach, reach]: e-processes (betting.py), or looks by a plan.

    Assumes that each difference, given the past, has a mean on the null's side; in shadow, that both models
    answered the same records. Void where betting.py's evidence is.

    Attributes:
        earlier: differences in the stages before this one.
        tests: by what they would show: better, worse, futile.
    """

    question: Question
    reach: float = 1.0
    earlier: int = 0
    tests: dict[str, MeanEvidence | PlannedTest] = field(default_factory=_empty)

    def __post_init__(self) -> None:
        require_positive("reach", self.reach)
        plan, alphas = self.question.plan, self.question.alphas
        for name, (mean, rises) in self.question.nulls.items() if not self.tests else ():
            self.tests[name] = (
                MeanEvidence(mean=mean, rises=rises, low=-self.reach, high=self.reach)
                if plan is None
                else PlannedTest(mean=mean, rises=rises, alpha=alphas[name], plan=plan)
            )

    def update(self, differences: Any) -> None:
        """Take in differences [n].

        Raises:
            SettingsError: a difference is larger than the reach.
        """
        values = within(differences, -self.reach, self.reach)
        for test in self.tests.values():
            test.update(values)

    @property
    def count(self) -> int:
        """Differences in all stages."""
        return self.earlier + self.tests["better"].count

    def shows(self, name: str) -> bool:
        """Better, at any time one looked: that is what alpha bounds. What speaks against it must still do so."""
        test = self.tests.get(name)
        if test is None:
            return False
        if isinstance(test, PlannedTest):
            return test.crossed
        return float(test.highest if name == Verdict.BETTER else test.log_e) >= self.thresholds[name]

    @property
    def thresholds(self) -> dict[str, float]:
        """Log evidence at which each test shows what it would show."""
        return {
            name: test.log_threshold if isinstance(test, PlannedTest) else float(-np.log(self.question.alphas[name]))
            for name, test in self.tests.items()
        }

    def next_stage(self, *, reach: float) -> "DifferenceEvidence":
        """A stage that follows, with other traffic: "better" multiplies its evidence by what it has won so far.

        The product of evidence of stages is evidence, since each stage's holds whatever the ones before showed:
        Grünwald, de Heide & Koolen, Safe testing (JRSS B, 2024). What speaks against begins anew: good behaviour in
        shadow is no credit for harm to users.
        """
        following = DifferenceEvidence(question=self.question, reach=reach, earlier=self.count)
        test = following.tests[Verdict.BETTER]
        if isinstance(test, MeanEvidence):  # evidence by a plan is of one stage
            test.carried = test.highest = np.asarray(self.tests[Verdict.BETTER].log_e)
        return following

    def state(self) -> dict[str, Any]:
        """As JSON holds it, but for the question, which the policy knows: `restored(question, state)`."""
        tests = {name: test.state() for name, test in self.tests.items()}
        return {"reach": self.reach, "earlier": self.earlier, "tests": tests}


def restored(question: Question, state: Mapping[str, Any]) -> DifferenceEvidence:
    """The evidence that `state` was taken of."""
    found = DifferenceEvidence(question=question, reach=state["reach"], earlier=state["earlier"])
    found.tests = {name: test.again(state["tests"][name]) for name, test in found.tests.items()}
    return found


def weighted_differences(losses: Any, challenged: Any, *, share: Any, centre: Any = 0.5) -> np.ndarray:
    """One unbiased difference a record, where each record met one model only: inverse-propensity weights [..., n].

    Horvitz & Thompson (1952), centred; as e-processes in Waudby-Smith & Ramdas (2024), section on A/B tests.
    They lie in ±1 / min(share, 1 − share), which is the reach to give: at 1% of the traffic every record counts
    little. Assumes that each was sent to the challenger by a toss of that probability, independent of all else.
    Void where traffic is sticky and records of one key count one by one: then give one mean loss a key and stage.

    Args:
        losses: in [0, 1].
        challenged: whether the challenger answered.
        share: probability with which it was to answer.
        centre: a guess of the loss in [0, 1] made before it was seen; the better it is, the less noise.

    Raises:
        SettingsError: a loss, a share or a centre is out of range.
    """
    loss, middle = within(losses, 0.0, 1.0), within(centre, 0.0, 1.0)
    chance = np.asarray(share, dtype=np.float64)
    if not ((chance > 0) & (chance < 1)).all():
        raise SettingsError(
            "Both models have a share of the traffic",
            observed=f"a share of {chance.min() if chance.min() <= 0 else chance.max():g}",
            remedy="compare in shadow, or give each a share above 0",
        )
    weight = np.where(np.asarray(challenged, dtype=bool), 1 / chance, -1 / (1 - chance))
    return np.asarray((loss - middle) * weight)
