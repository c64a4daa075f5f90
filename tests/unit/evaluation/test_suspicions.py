"""What is too good to be honest is told with the columns to try without."""

import pytest

from tidemill.evaluation.results import Evaluation, Importance, Metric
from tidemill.evaluation.suspicions import check
from tidemill.settings import Objective


def evaluation(auroc: float, *increases: float, rows: int = 1_000) -> Evaluation:
    found = [Importance(column=f"c{i}", increase=v, lower=v / 2, upper=2 * v) for i, v in enumerate(increases)]
    metric = Metric(name="auroc", value=auroc, lower=auroc - 0.01, upper=1.0, higher_is_better=True)
    return Evaluation(
        objective=Objective.BINARY,
        rows=rows,
        metrics=(metric,),
        slices=(),
        baselines=(),
        importance=tuple(found),
    )


def test_a_nearly_perfect_model_names_what_it_leans_on() -> None:
    (found,) = check(evaluation(0.991, 0.5, 0.3, 0.2), ["status"], [])
    assert (found.check, found.column) == ("too_good", "c0")
    assert "'c0' (50%), 'c1' (30%), 'c2' (20%)" in found.message
    assert "run once more with c0 in data.ignored (beside status)" in found.remedy
    (found,) = check(evaluation(0.991), [], [])
    assert "evaluation.importance_rows" in found.remedy


def test_one_column_that_carries_nearly_everything() -> None:
    (found,) = check(evaluation(0.8, 0.9, 0.05, 0.01), [], [])
    assert (found.check, found.column) == ("one_column", "c0")
    assert "carries 94% of all permutation importance" in found.message
    assert list(check(evaluation(0.8, 0.9, 0.05, 0.01), [], ["c0"])) == []


@pytest.mark.parametrize(
    "honest",
    [evaluation(0.97, 0.5, 0.3, 0.2), evaluation(0.8, 0.9, 0.05), evaluation(1.0, 0.5, 0.3, 0.2, rows=20)],
    ids=["good", "of two columns", "on few rows"],
)
def test_what_is_no_suspicion(honest: Evaluation) -> None:
    assert list(check(honest, [], [])) == []
