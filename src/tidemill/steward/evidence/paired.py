"""Evidence between two models: a challenger's loss minus the champion's, paired in shadow or weighted in an A/B test.

In shadow, both models answer the same record, and the difference of their losses is taken. In an A/B test each record
meets one model only, and `weighted_differences` makes an unbiased difference of each. Everything is then about the mean
of these differences, which is negative where the challenger is better:

    better      refutes "the mean is at least 0" (superiority) or "at least the margin" (non-inferiority)
    worse       refutes "the mean is at most the margin"
    futile      refutes "the mean is at most −gain": the gain that was hoped for is not there

The tests are the e-processes of betting.py or, for those who fix their looks in advance, those of sequential.py.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from tidemill.errors import SettingsError
from tidemill.steward.evidence.betting import MeanEvidence
from tidemill.steward.evidence.limits import require_positive, require_share, within
from tidemill.steward.evidence.sequential import Plan, PlannedTest


class Verdict(StrEnum):
    """What the evidence says of the challenger so far; `inconclusive` when it is given up without an answer."""

    UNDECIDED = "undecided"
    BETTER = "better"
    WORSE = "worse"
    FUTILE = "futile"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What is asked about a challenger.

    >>> question = Question(alpha=0.05, margin=0.01, gain=0.02)
    >>> question.nulls
    {'better': (0.0, False), 'worse': (0.01, True), 'futile': (-0.02, True)}
    >>> question.alphas
    {'better': 0.05, 'worse': 0.025, 'futile': 0.025}

    Attributes:
        alpha: the probability with which "better" may be wrong, ever.
        against: the same for "worse" and "futile" together, in this stage, of a challenger that is within the margin
            and has the gain; None: alpha.
        margin: the mean difference in loss within which the challenger counts as no worse.
        superiority: whether it must be better than the champion, rather than worse by less than the margin.
        gain: the smallest improvement that is worth waiting for; None never gives up early.
        plan: the looks, where they are fixed in advance; None: one may look at any time.
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
        """By what each test would show: the mean that it refutes, and whether a larger one refutes it."""
        found = {"better": (0.0 if self.superiority else self.margin, False), "worse": (self.margin, True)}
        return found if self.gain is None else {**found, "futile": (-self.gain, True)}

    @property
    def alphas(self) -> dict[str, float]:
        """By what each test would show: the probability with which it may do so wrongly, ever."""
        against = (self.alpha if self.against is None else self.against) / (len(self.nulls) - 1)
        return {name: self.alpha if name == Verdict.BETTER else against for name in self.nulls}


@dataclass(kw_only=True, slots=True)
class DifferenceEvidence:
    """The tests of a question over differences in [−reach, reach]: e-processes (betting.py), or looks by a plan.

    Assumes that, given the past, the mean of each difference lies on the null's side; and, in shadow, that both models
    answered the same records. Void where the evidence of betting.py is void.

    The champion errs on 30 records in 100. The challenger gives its answer nine times in ten, and errs on 20 of 100 of
    the others; the evidence is in the few records on which they differ.

    >>> import numpy as np
    >>> random = np.random.default_rng(0)
    >>> champion = random.random(3000) < 0.3
    >>> challenger = np.where(random.random(3000) < 0.1, random.random(3000) < 0.2, champion)
    >>> evidence = DifferenceEvidence(question=Question(alpha=0.05, gain=0.02))
    >>> evidence.update(challenger.astype(float) - champion)
    >>> evidence.shows(Verdict.BETTER), evidence.shows(Verdict.WORSE), evidence.count
    (True, False, 3000)

    Attributes:
        earlier: the number of differences in the stages before this one.
        tests, planned: by what they would show (better, worse, futile): those of betting, or those by a plan.
    """

    question: Question = field(default_factory=Question)
    reach: float = 1.0
    earlier: int = 0
    tests: dict[str, MeanEvidence] = field(default_factory=dict)
    planned: dict[str, PlannedTest] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_positive("reach", self.reach)
        plan, alphas = self.question.plan, self.question.alphas
        for name, (mean, rises) in self.question.nulls.items() if not self._every else ():
            if plan is None:
                self.tests[name] = MeanEvidence(mean=mean, rises=rises, low=-self.reach, high=self.reach)
            else:
                self.planned[name] = PlannedTest(mean=mean, rises=rises, alpha=alphas[name], plan=plan)

    @property
    def _every(self) -> dict[str, MeanEvidence | PlannedTest]:
        return {**self.tests, **self.planned}

    def update(self, differences: Any) -> None:
        """Take in differences [n].

        Raises:
            SettingsError: a difference is larger than the reach.
        """
        values = within(differences, -self.reach, self.reach)
        for test in self._every.values():
            test.update(values)

    @property
    def count(self) -> int:
        """The number of differences in all stages."""
        return self.earlier + self._every["better"].count

    @property
    def log_e(self) -> dict[str, float]:
        """The log evidence of each test after the last difference."""
        return {name: float(test.log_e) for name, test in self._every.items()}

    def shows(self, name: str) -> bool:
        """Return whether a test shows what it would show.

        "Better" counts from the first time that it was shown, as alpha bounds the probability of that. What speaks
        against the challenger must still do so now.
        """
        test = self._every.get(name)
        if test is None:
            return False
        if isinstance(test, PlannedTest):
            return test.crossed
        return float(test.highest if name == Verdict.BETTER else test.log_e) >= self.thresholds[name]

    @property
    def thresholds(self) -> dict[str, float]:
        """The log evidence from which on each test shows what it would show."""
        return {
            name: test.log_threshold if isinstance(test, PlannedTest) else float(-np.log(self.question.alphas[name]))
            for name, test in self._every.items()
        }

    def next_stage(self, *, question: Question, reach: float) -> "DifferenceEvidence":
        """Return the evidence of the stage that follows, with other traffic; its question has the same `better`.

        "Better" goes on from what it has won so far: a product of the evidence of stages is evidence, as that of each
        stage holds whatever the stages before showed (Grünwald, de Heide & Koolen, Safe testing, JRSS B 2024). What
        speaks against the challenger begins anew: good behaviour in shadow is no credit for harm to users.
        """
        following = DifferenceEvidence(question=question, reach=reach, earlier=self.count)
        if following.tests:  # evidence by a plan is of one stage
            test = following.tests[Verdict.BETTER]
            test.carried = test.highest = np.asarray(self._every[Verdict.BETTER].log_e)
        return following


def weighted_differences(losses: Any, challenged: Any, *, share: Any, centre: Any = 0.5) -> np.ndarray:
    """Return one unbiased difference for each record [..., n], where each record met one model only.

    The weights are inverse propensities (Horvitz & Thompson, A generalization of sampling without replacement from a
    finite universe, JASA 1952) of centred losses; Waudby-Smith & Ramdas (2024) use them in e-processes in their section
    on A/B tests. The differences lie in ±1 / min(share, 1 − share), which is the reach to give: at 1% of the traffic,
    every record counts little.

    Assumes that each record was sent to the challenger by a toss of that probability, independent of all else. Void
    where traffic is sticky and records of one key count one by one: then give one mean loss for each key and stage.

    Losses of .2 by the challenger and .6 by the champion, with half of the traffic each, both speak for the challenger:

    >>> weighted_differences([0.2, 0.6], [True, False], share=0.5).round(3).tolist()
    [-0.6, -0.2]

    Args:
        losses: in [0, 1] [..., n].
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
