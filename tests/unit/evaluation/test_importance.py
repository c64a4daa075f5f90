import numpy as np

from tidemill.data.raw import Raw
from tidemill.evaluation.importance import MOST_COLUMNS, REPEATS, permute
from tidemill.evaluation.results import Answers
from tidemill.settings import Objective


def test_the_column_that_matters_comes_first_and_the_unused_one_at_zero() -> None:
    rng = np.random.default_rng(0)
    raw: Raw = {
        "noise": rng.normal(size=400),
        "strong": rng.normal(size=400),
        "word": np.array(["yes", ""], dtype=object)[rng.integers(0, 2, 400)],
    }
    labels = 2 * raw["strong"] + (raw["word"] == "yes")

    def predict(rows: Raw) -> Answers:
        return {"value": 2 * rows["strong"] + (rows["word"] == "yes")}

    before = {column: values.copy() for column, values in raw.items()}
    found = permute(predict, raw, labels, Objective.REGRESSION, level=0.95, seed=0)
    assert [importance.column for importance in found] == ["strong", "word", "noise"]
    strong, word, noise = found
    assert strong.lower < strong.increase < strong.upper
    assert 7 < strong.increase < 9  # twice the variance of 2 · strong
    assert 0.4 < word.increase < 0.6
    assert (noise.increase, noise.lower, noise.upper) == (0.0, 0.0, 0.0)
    assert all(np.array_equal(before[column], raw[column]) for column in raw)
    assert found == permute(predict, raw, labels, Objective.REGRESSION, level=0.95, seed=0)


def test_one_row_says_nothing() -> None:
    (only,) = permute(
        lambda rows: {"value": rows["x"]},
        {"x": np.array([1.0])},
        np.array([0.0]),
        Objective.REGRESSION,
        level=0.9,
        seed=0,
    )
    assert (only.increase, only.lower, only.upper) == (0.0, -np.inf, np.inf)


def test_of_many_columns_the_hundred_that_matter_are_measured_in_a_bounded_number_of_runs() -> None:
    rng = np.random.default_rng(0)
    raw: Raw = {f"c{place}": rng.normal(size=50) for place in range(3_001)}
    strong = {f"c{place}": float(1 + weight) for weight, place in enumerate(range(11, 3_000, 500))}
    runs = 0

    def predict(rows: Raw) -> Answers:
        nonlocal runs
        runs += 1
        return {"value": sum((weight * rows[column] for column, weight in strong.items()), np.zeros(50))}

    labels = predict(raw)["value"].copy()
    found = permute(predict, raw, labels, Objective.REGRESSION, level=0.95, seed=0)
    assert len(found) <= MOST_COLUMNS
    assert {importance.column for importance in found[:6]} == set(strong)
    assert runs <= 2 + 3 * MOST_COLUMNS + REPEATS * MOST_COLUMNS
