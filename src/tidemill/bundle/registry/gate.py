"""The gate: whether a new bundle becomes champion, with the reasons in sentences.

The first bundle must beat the trivial baseline. A later one must not be worse than the champion by
more than a margin, shown at a one-sided level by a paired test on the same test rows.
"""

from dataclasses import dataclass

import numpy as np

from tidemill.data.target import Labels, Target
from tidemill.errors import listed
from tidemill.evaluation.comparison import compare, excess, row_losses
from tidemill.evaluation.results import Answered, Answers, Baseline, Comparison
from tidemill.settings import BaselineName, GateSettings, Objective

FEWEST = 10
"""Test rows. On two or three, all differences may be equal by chance: an interval of no width that proves nothing."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Contender:
    """A model at the gate: what it predicts, and its answers on the test rows."""

    target: Target
    answers: Answers

    def on(self, labels: Labels) -> Answered:
        return Answered(objective=self.target.objective, labels=labels, answers=self.answers)


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What the gate says. comparison: with the champion, or with the trivial baseline when there is none."""

    passed: bool
    reasons: tuple[str, ...]
    comparison: Comparison | None


def decide(
    new: Contender,
    champion: Contender | None,
    labels: Labels,
    baselines: tuple[Baseline, ...],
    settings: GateSettings,
    *,
    seed: int,
) -> Verdict:
    """Pass a new bundle, or say why not.

    Args:
        champion: the champion's answers on the same test rows; None if there is no champion yet.
        labels: of the test rows, encoded by the new bundle's target.
        baselines: of the same rows; "trivial" must be among them.
    """
    if reasons := _unusable(new, "The new bundle", labels):
        return _verdict(False, reasons, None)
    if champion is None:
        return _first(baselines)
    if reasons := _differences(new.target, champion.target) or _unusable(champion, "The champion", labels):
        return _verdict(False, reasons, None)
    return _against(new.on(labels), champion.on(labels), settings, seed)


def bar(verdict: Verdict, reasons: tuple[str, ...]) -> Verdict:
    """The verdict, refused for these reasons, if any, whatever the figures say: they cannot be relied on."""
    if not reasons:
        return verdict
    said = " ".join(f"{reason.rstrip('.')}." for reason in reasons)
    return Verdict(
        passed=False, reasons=(f"It may not become champion: {said}", *verdict.reasons), comparison=verdict.comparison
    )


def _first(baselines: tuple[Baseline, ...]) -> Verdict:
    trivial = [baseline for baseline in baselines if baseline.name == BaselineName.TRIVIAL]
    assert trivial, "the trivial baseline always runs"
    comparison = trivial[0].comparison
    passed = comparison.upper < 0
    verdict = "It beats the trivial baseline" if passed else "It does not beat the trivial baseline for certain"
    return _verdict(
        passed,
        (f"{verdict}: {_difference(comparison)}.", "There was no champion before it." if passed else ""),
        comparison,
    )


def _against(new: Answered, champion: Answered, settings: GateSettings, seed: int) -> Verdict:
    comparison = compare(new, champion, level=settings.level, seed=seed)
    bound = excess(new, champion, margin=settings.margin, level=settings.level, seed=seed)
    passed = bound <= 0
    loss = row_losses(champion).mean()
    allowed = f"{settings.margin * abs(loss):.6g}, {settings.margin:.2%} of the champion's {loss:.6g}"
    verdict = "It is no worse than the champion" if passed else "It may be worse than the champion, which stays"
    return _verdict(
        passed,
        (
            f"{verdict}: {_difference(comparison)}.",
            f"It may be higher by at most {allowed} (the margin). With {settings.level:.0%} confidence (one-sided) "
            f"it ends {abs(bound):.6g} {'inside' if passed else 'outside'} the margin at worst.",
        ),
        comparison,
    )


def _unusable(contender: Contender, who: str, labels: Labels) -> tuple[str, ...]:
    """Reasons why its losses cannot be compared."""
    if len(labels) < FEWEST:
        return (f"A paired test needs at least {FEWEST} test rows, and there are {len(labels)}.",)
    name = "value" if contender.target.objective is Objective.REGRESSION else "probabilities"
    answers = np.asarray(contender.answers[name])
    bad = int((~np.isfinite(answers)).any(axis=tuple(range(1, answers.ndim))).sum())
    return (f"{who} answers {bad} of {len(labels)} test rows with NaN or infinity.",) if bad else ()


def _differences(new: Target, champion: Target) -> tuple[str, ...]:
    """Reasons why the two do not answer the same question."""
    remedy = "register it under another model name, or promote it by hand"
    pairs = (
        ("target", [new.name], [champion.name]),
        ("objective", [str(new.objective)], [str(champion.objective)]),
        ("classes", [*new.classes], [*champion.classes]),
    )
    return tuple(
        f"The new bundle's {what} ({listed(ours)}) differs from the champion's ({listed(theirs)}), so their losses "
        f"cannot be compared: {remedy}."
        for what, ours, theirs in pairs
        if ours != theirs
    )


def _verdict(passed: bool, reasons: tuple[str, ...], comparison: Comparison | None) -> Verdict:
    return Verdict(
        passed=passed,
        reasons=tuple(reason for reason in reasons if reason),
        comparison=comparison,
    )


def _difference(comparison: Comparison) -> str:
    side = "lower" if comparison.difference < 0 else "higher"
    return (
        f"its {_words(comparison.loss)} on {comparison.rows:,} test rows is {abs(comparison.difference):.6g} {side} "
        f"({comparison.level:.0%} interval of the difference: {comparison.lower:.6g} to {comparison.upper:.6g})"
    )


def _words(loss: str) -> str:
    return loss.replace("_", " ")
