"""model.onnx outside our code: raw columns by the manifest's contract, in plain ONNX Runtime."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from chain import MISSING_TIMESTAMP, Plain, Run, raw_arrays, read_csv

from tidemill.bundle.predictor import Predictor
from tidemill.data.raw import from_rows

pytestmark = pytest.mark.slow

ROWS = 4096


@pytest.fixture(scope="module")
def plain(run: Run) -> Plain:
    return Plain(run.bundle)


@pytest.fixture(scope="module")
def predictor(run: Run) -> Predictor:
    return Predictor(run.bundle)


@pytest.fixture(scope="module")
def records(table: Path) -> list[dict[str, str]]:
    return list(itertools.islice(itertools.cycle(read_csv(table)), ROWS))


def as_request(record: dict[str, str], inputs: list[dict[str, object]]) -> dict[str, object]:
    """A record as JSON would carry it."""
    row: dict[str, object] = {}
    for entry in inputs:
        name, kind = str(entry["name"]), entry["kind"]
        text = record[name]
        if text == "":
            row[name] = None
        elif kind == "numeric":
            row[name] = float(text)
        else:
            row[name] = text == "true" if kind == "boolean" else text
    return row


def close(got: np.ndarray, expected: np.ndarray, unit: float = 1.0) -> bool:
    """Within 1e-6 of the value's own size, or of `unit`: of a regression's values, their spread."""
    if expected.dtype == object:
        return bool((got == expected).all())
    return bool((np.abs(got - expected) <= 1e-6 * np.maximum(unit, np.abs(expected))).all())


def unit(values: np.ndarray) -> float:
    return 1.0 if values.dtype == object else max(1.0, float(values.std()))


@pytest.mark.parametrize("batch", [1, 2, 7, ROWS])
def test_plain_onnxruntime_answers_as_the_predictor(
    batch: int, plain: Plain, predictor: Predictor, records: list[dict[str, str]]
) -> None:
    """Bit for bit at the same batch; within 1e-6 of what the row gets in a batch of 4,096."""
    arrays = raw_arrays(records, plain.manifest)
    whole = plain(arrays)
    inputs = plain.manifest["interface"]["inputs"]
    for start in range(0, ROWS if batch == ROWS else 20 * batch, batch):
        part = slice(start, start + batch)
        answers = plain({name: values[part] for name, values in arrays.items()})
        rows = [as_request(record, inputs) for record in records[part]]
        served = predictor.predict(from_rows(rows, predictor.columns))
        assert served.keys() == answers.keys()
        for name, values in answers.items():
            assert np.array_equal(values, served[name]), name
            assert close(values, whole[name][part], unit(whole[name])), name


def test_what_the_answers_promise(plain: Plain, records: list[dict[str, str]]) -> None:
    answers = plain(raw_arrays(records, plain.manifest))
    if "value" in answers:
        assert (answers["lower"] < answers["value"]).all()
        assert (answers["value"] < answers["upper"]).all()
        return
    classes = np.array(plain.manifest["identity"]["classes"], dtype=object)
    probabilities = answers["probabilities"]
    assert probabilities.shape == (ROWS, len(classes))
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert (answers["label"] == classes[probabilities.argmax(axis=1)]).all()


HOSTILE = {
    "numeric": [np.nan, np.inf, -np.inf, 2.0**24 + 1, 2.0**53, -(2.0**53), 1e308, -1e308, 5e-324, -0.0],
    "boolean": [np.nan, 0.0, 1.0, np.inf, -np.inf, 7.0],
    "categorical": ["", "never seen", " ", "\x00", "Zürich ", "🜁" * 5000],
    "timestamp": [MISSING_TIMESTAMP, 2**63 - 1, MISSING_TIMESTAMP + 1, 0, -1, 253_402_300_800_000_000],
}


def test_hostile_rows_are_answered(plain: Plain, predictor: Predictor) -> None:
    """Every hostile value in turn with every other column's, one after the other, all at once."""
    inputs = plain.manifest["interface"]["inputs"]
    count = 60
    arrays = {}
    for shift, entry in enumerate(inputs):
        values = HOSTILE[entry["kind"]]
        drawn = [values[(row * (shift + 1) + row // len(values)) % len(values)] for row in range(count)]
        dtype = {"categorical": object, "timestamp": np.int64}.get(entry["kind"], np.float64)
        arrays[entry["name"]] = np.array(drawn, dtype=dtype)
    answers = plain(arrays)
    for name, values in answers.items():
        if name == "label":
            assert set(values) <= set(plain.manifest["identity"]["classes"])
        else:
            assert np.isfinite(values).all(), name
        assert np.array_equal(predictor.predict(arrays)[name], values)
        one = [plain({column: array[[row]] for column, array in arrays.items()})[name][0] for row in range(count)]
        assert close(np.array(one, dtype=values.dtype), values, unit(values)), name


def test_no_rows_are_answered_with_none(plain: Plain, predictor: Predictor) -> None:
    arrays = {name: values[:0] for name, values in raw_arrays([], plain.manifest).items()}
    for name, values in plain(arrays).items():
        assert len(values) == 0, name
    assert all(len(values) == 0 for values in predictor.predict(from_rows([], predictor.columns)).values())
