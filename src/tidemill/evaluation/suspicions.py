"""Results that are too good, or rest on one column: warnings that name columns and the run that tells more.

A leak that no check of the data sees shows here at the latest: a column that is only known after the prediction makes a
model nearly perfect, and the model leans on it.
"""

from collections.abc import Iterator, Sequence

from tidemill.data.checks.findings import Finding, Severity, noticed
from tidemill.evaluation.results import Evaluation, Importance

TOO_GOOD = {"auroc": 0.98, "r2": 0.98}
"""Test figures from which on a leak is likelier than such a good model."""
ONE_COLUMN = 0.8
"""Share of all permutation importance, from which on a model rests on one column."""
FEWEST_COLUMNS = 3
"""Of fewer columns, one may well carry nearly all."""
FEWEST_ROWS = 100
"""On fewer test rows, a perfect figure is no rarity."""
LISTED = 3


def check(evaluation: Evaluation, ignored: Sequence[str], honest: Sequence[str]) -> Iterator[Finding]:
    """Warnings about the results.

    Args:
        ignored: `data.ignored` of the run.
        honest: `data.quality.allow_leaks`: columns that are declared to be known in time.
    """
    leading = [column for column in evaluation.importance if column.lower > 0 and column.column not in honest]
    total = sum(max(column.increase, 0.0) for column in evaluation.importance)
    yield from _too_good(evaluation, leading, total, ignored)
    if len(evaluation.importance) < FEWEST_COLUMNS or not leading:
        return
    share = leading[0].increase / total
    if leading[0] is evaluation.importance[0] and share >= ONE_COLUMN:
        name = leading[0].column
        yield noticed("one_column", Severity.WARNING, name, evaluation.rows, share)(
            message=f"{name!r} carries {share:.0%} of all permutation importance: the model is little more than this "
            "column",
            remedy=_remedy(name, ignored),
        )


def _too_good(
    evaluation: Evaluation, leading: Sequence[Importance], total: float, ignored: Sequence[str]
) -> Iterator[Finding]:
    for metric in evaluation.metrics:
        if evaluation.rows < FEWEST_ROWS or metric.value < TOO_GOOD.get(metric.name, float("inf")):
            continue
        columns = ", ".join(f"{column.column!r} ({column.increase / total:.0%})" for column in leading[:LISTED])
        most = leading[0].column if leading else None
        yield noticed("too_good", Severity.WARNING, most, evaluation.rows, metric.value)(
            message=f"{metric.name} {metric.value:.4f} on test is seldom honest: something may be known only after the "
            "prediction, or the same records stand in train and in test"
            + (f"; the model leans most on {columns}" if columns else ""),
            remedy=_remedy(leading[0].column, ignored)
            if leading
            else "set evaluation.importance_rows=1000 to see which columns the model leans on",
        )


def _remedy(name: str, ignored: Sequence[str]) -> str:
    others = f" (beside {', '.join(ignored[:LISTED])}{' …' if len(ignored) > LISTED else ''})" if ignored else ""
    return (
        f"run once more with {name} in data.ignored{others} and compare the figures; if its value is only known after "
        f"the prediction, leave it there, and if it is honest, add {name} to data.quality.allow_leaks"
    )
