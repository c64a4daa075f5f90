from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from small_bundle import Small
from tidemill.bundle.export import parity
from tidemill.bundle.runtime import Runtime
from tidemill.data.raw import from_table
from tidemill.errors import ExportError

ROWS = 300
RAW = {"x": np.arange(ROWS, dtype=np.float64)}
P = np.linspace(0.1, 0.9, ROWS, dtype=np.float32)
PROBABILITIES = np.stack([P, 1 - P], axis=1)
LABELS = np.where(P >= 1 - P, "a", "b").astype(object)
CLASSES = {"probabilities": PROBABILITIES, "label": LABELS}
VALUES = {"value": np.linspace(-1e6, 1e6, ROWS, dtype=np.float32)}


def answering(answers: dict[str, np.ndarray], **changed: Any) -> Callable[..., Any]:
    def run(raw: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        rows = raw["x"].astype(int)
        return {name: changed.get(name, values)[rows] for name, values in answers.items()}

    return run


def test_what_agrees_gives_figures() -> None:
    near = PROBABILITIES + np.float32(1e-6)
    figures = parity.check(answering(CLASSES, probabilities=near), RAW, CLASSES)
    assert figures.rows == ROWS and figures.ties == 0 and 5e-7 < figures.difference < 2e-6
    assert figures.batches == (1, 2, 7, 4096)


def test_one_wrong_row_of_all_is_found_and_named() -> None:
    wrong = PROBABILITIES.copy()
    wrong[217] += 3e-5
    with pytest.raises(ExportError, match=r"within 1e-05.*row 217: x='217.0'"):
        parity.check(answering(CLASSES, probabilities=wrong), RAW, CLASSES)


def test_a_graph_that_is_wrong_at_batch_1_only_is_found() -> None:
    def run(raw: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        answers = answering(CLASSES)(raw)
        return {**answers, "probabilities": answers["probabilities"] + (0.01 if len(raw["x"]) == 1 else 0)}

    with pytest.raises(ExportError, match="batch 1"):
        parity.check(run, RAW, CLASSES)


def test_a_graph_with_a_fixed_batch_is_found() -> None:
    with pytest.raises(ExportError, match="one answer a row"):
        parity.check(lambda raw: {name: values[:5] for name, values in CLASSES.items()}, RAW, CLASSES)


def test_wrong_labels_are_found_unless_they_tie() -> None:
    swapped = np.where(LABELS == "a", "b", "a").astype(object)
    with pytest.raises(ExportError, match=r"label of the largest probability.*'a' instead of 'b'"):
        parity.check(answering(CLASSES, label=swapped), RAW, CLASSES)
    even = {"probabilities": np.full((ROWS, 2), 0.5, np.float32), "label": LABELS}
    assert parity.check(answering(even, label=swapped), RAW, even).ties == ROWS


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_answers_must_be_finite(bad: float) -> None:
    values = VALUES["value"].copy()
    values[3] = bad
    with pytest.raises(ExportError, match=r"finite answer to every record.*row 3.*preparation.numeric.clip"):
        parity.check(answering(VALUES, value=values), RAW, {"value": values})


def test_regression_is_relative_to_the_value_or_the_spread() -> None:
    parity.check(answering(VALUES, value=VALUES["value"] + np.float32(5)), RAW, VALUES)  # of a spread of a million
    with pytest.raises(ExportError, match="value is"):
        parity.check(answering(VALUES, value=VALUES["value"] + np.float32(50)), RAW, VALUES)
    constant = {"value": np.zeros(ROWS, np.float32)}
    assert parity.check(answering(constant), RAW, constant).difference == 0


def test_one_row_is_enough() -> None:
    one = {name: values[:1] for name, values in CLASSES.items()}
    assert parity.check(answering(CLASSES), {"x": np.zeros(1)}, one).rows == 1


def test_the_real_thing(small: Small) -> None:
    from tidemill.bundle import manifest

    interface = manifest.read(small.folder).interface
    raw = from_table(small.table, small.schema.inputs)
    prepared = small.preparation.run(raw)
    expected = parity.torch_answers(small.network, prepared.numeric, prepared.categorical, small.target)
    run = Runtime((small.folder / "model.onnx").read_bytes(), interface)
    assert parity.check(run, raw, expected).difference <= 1e-5
