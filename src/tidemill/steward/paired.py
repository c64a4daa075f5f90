"""Evidence between two models: a challenger's loss minus the champion's, paired in shadow or weighted in an A/B test.

Everything is about the mean of that difference, negative where the challenger is better:

    promote     refutes "the mean is at least 0" (superiority) or "at least the margin" (non-inferiority)
    roll back   refutes "the mean is at most the margin"
    futile      refutes "the mean is at most −gain": the gain that was hoped for is not there

Each of these is wrong, ever, with probability at most alpha, at whatever time one stops.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from tidemill.errors import SettingsError
from tidemill.steward.betting import MeanEvidence
from tidemill.steward.limits import require_positive, require_share, within


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

    alpha: probability with which each answer may be wrong, ever.
    margin: mean difference in loss within which the challenger counts as no worse.
    superiority: whether it must be better than the champion, rather than worse by less than the margin.
    gain: the smallest improvement worth waiting for; None never gives up early.
    minimum, maximum: numbers of differences before which nothing is said, and at which waiting ends.
    """

    alpha: float = 0.05
    margin: float = 0.0
    superiority: bool = True
    gain: float | None = None
    minimum: int = 0
    maximum: int | None = None

    def __post_init__(self) -> None:
        require_share("alpha", self.alpha)
        if not self.superiority:
            require_positive("The margin of non-inferiority", self.margin)
        if self.margin < 0 or (self.gain is not None and self.gain <= 0):
            raise SettingsError(
                "The margin is 0 or greater and the gain greater than 0",
                observed=f"margin {self.margin:g}, gain {self.gain}",
                remedy="give both as sizes, without a sign",
            )


def _empty() -> dict[str, MeanEvidence]:
    return {}


@dataclass(kw_only=True, slots=True)
class DifferenceEvidence:
    """The three e-processes of a question (betting.py), over differences in [−reach, reach].

    Assumes that each difference, given the past, has a mean on the null's side; in shadow, that both models
    answered the same records. Void where betting.py's evidence is.

    Attributes:
        earlier: differences in the stages before this one.
        tests: by what they would show: better, worse, futile.
    """

    question: Question
    reach: float = 1.0
    earlier: int = 0
    tests: dict[str, MeanEvidence] = field(default_factory=_empty)

    def __post_init__(self) -> None:
        require_positive("reach", self.reach)
        if not self.tests:
            ask = self.question
            nulls = {"better": (0.0 if ask.superiority else ask.margin, False), "worse": (ask.margin, True)}
            if ask.gain is not None:
                nulls["futile"] = (-ask.gain, True)
            self.tests = {
                name: MeanEvidence(mean=mean, rises=rises, low=-self.reach, high=self.reach)
                for name, (mean, rises) in nulls.items()
            }

    def update(self, differences: Any) -> dict[str, np.ndarray]:
        """Log evidence of each test after each of the differences [..., n].

        Raises:
            SettingsError: a difference is larger than the reach.
        """
        return {name: test.update(differences) for name, test in self.tests.items()}

    @property
    def count(self) -> int:
        """Differences in all stages."""
        return self.earlier + self.tests["better"].count

    def verdict(self) -> Verdict:
        """What the evidence says now, of a single stream; harm is named first."""
        if self.count < self.question.minimum:
            return Verdict.UNDECIDED
        threshold = -np.log(self.question.alpha)
        for verdict in (Verdict.WORSE, Verdict.BETTER, Verdict.FUTILE):
            test = self.tests.get(verdict)
            if test is not None and float(test.log_e) >= threshold:
                return verdict
        at_end = self.question.maximum is not None and self.count >= self.question.maximum
        return Verdict.INCONCLUSIVE if at_end else Verdict.UNDECIDED

    def next_stage(self, *, reach: float) -> "DifferenceEvidence":
        """A stage that follows, with other traffic, and multiplies its evidence by what has been won so far.

        The product of evidence of stages is evidence, since each stage's holds whatever the ones before showed:
        Grünwald, de Heide & Koolen, Safe testing (JRSS B, 2024).
        """
        following = DifferenceEvidence(question=self.question, reach=reach, earlier=self.count)
        for name, test in following.tests.items():
            test.carried = test.highest = self.tests[name].log_e
        return following

    def state(self) -> dict[str, Any]:
        """As JSON holds it, but for the question, which the policy knows: `restored(question, state)`."""
        tests = {name: test.state() for name, test in self.tests.items()}
        return {"reach": self.reach, "earlier": self.earlier, "tests": tests}


def restored(question: Question, state: dict[str, Any]) -> DifferenceEvidence:
    """The evidence that `state` was taken of."""
    tests = {name: MeanEvidence(**test) for name, test in state["tests"].items()}
    return DifferenceEvidence(question=question, reach=state["reach"], earlier=state["earlier"], tests=tests)


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
