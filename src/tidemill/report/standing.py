"""How the model stands against the baselines, in sentences: on the console, in the report and beside the gate."""

from collections.abc import Sequence

from tidemill.evaluation.results import Baseline, Standing
from tidemill.report import numerals
from tidemill.report.numerals import metric_name, signed
from tidemill.settings import BaselineName

NAMES = {
    BaselineName.TRIVIAL: "always answering the same",
    BaselineName.LINEAR: "a linear model",
    BaselineName.BOOSTING: "LightGBM",
}
REMEDIES = {
    BaselineName.TRIVIAL: "the columns say little about the target, or training went wrong: look at the learning "
    "curves and the data's warnings, and add columns that say more",
    BaselineName.LINEAR: "the table may be small or its relations simple: try model=linear, or more "
    "training.weight_decay",
    BaselineName.BOOSTING: "where nothing but this figure counts, use LightGBM; otherwise try model=tabm, a longer "
    "training (training.max_epochs, training.patience) or a sweep, and compare again",
}


def sentence(baseline: Baseline) -> str:
    """One sentence: which of the two is better, whether that is certain, and both figures."""
    standing, name = baseline.standing, NAMES[BaselineName(baseline.name)]
    if standing is None:
        return _by_loss(baseline)
    if standing.better:
        text = f"This model is better than {name} on this table"
    elif standing.worse:
        text = f"{name[0].upper()}{name[1:]} is better than this model on this table"
    elif standing.ours == standing.theirs:
        text = f"This model and {name} are alike on this table"
    else:
        ahead = (standing.ours > standing.theirs) is standing.higher_is_better
        text = f"This model is {'ahead of' if ahead else 'behind'} {name} on this table, but not for certain"
    return f"{text}: {_figures(standing)}."


def advice(baselines: Sequence[Baseline]) -> tuple[str, ...]:
    """What the reader should know beside a verdict: each baseline that is better for certain, and what to do then.

    A model that is not better than the trivial baseline for certain is named as well.
    """
    return tuple(told(baseline) for baseline in baselines if _wins(baseline))


def told(baseline: Baseline) -> str:
    """The sentence, and what to do where the baseline wins."""
    what = remedy(baseline)
    return f"{sentence(baseline)} What to do: {what}." if what else sentence(baseline)


def remedy(baseline: Baseline) -> str | None:
    """What to do where the baseline wins."""
    return REMEDIES[BaselineName(baseline.name)] if _wins(baseline) else None


def _wins(baseline: Baseline) -> bool:
    standing, loss = baseline.standing, baseline.comparison
    if baseline.name == BaselineName.TRIVIAL:  # of rare classes, no model's accuracy beats "never"; its losses do
        return loss.upper >= 0 and not (standing is not None and standing.better)
    return loss.lower > 0 if standing is None else standing.worse


def _figures(standing: Standing) -> str:
    difference = standing.ours - standing.theirs
    if difference == standing.lower == standing.upper == 0:
        return f"{_metric(standing)} {standing.ours:.4g} of both"
    ours, theirs = (
        signed(value, standing.lower, standing.upper).lstrip("+") for value in (standing.ours, standing.theirs)
    )
    first, second = (theirs, ours) if standing.worse else (ours, theirs)
    sign = -1 if standing.worse else 1
    low, high = sorted((sign * standing.lower, sign * standing.upper))
    paired = numerals.difference(sign * difference, low, high)
    return f"{_metric(standing)} {first} against {second}, difference {paired}"


def _metric(standing: Standing) -> str:
    name = metric_name(standing.metric)
    return name if name.isupper() else name.lower()


def _by_loss(baseline: Baseline) -> str:
    """Where the main metric is undefined, like AUROC on rows of one class."""
    found, name = baseline.comparison, NAMES[BaselineName(baseline.name)]
    words = "better than" if found.upper < 0 else "worse than" if found.lower > 0 else "not clearly different from"
    paired = numerals.difference(found.difference, found.lower, found.upper)
    return f"This model is {words} {name} in {found.loss.replace('_', ' ')}: difference {paired}."
