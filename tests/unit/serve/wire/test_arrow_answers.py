"""Answers as an Arrow stream."""

from typing import Any

import numpy as np
import pyarrow as pa

from tidemill.bundle.manifest import Identity
from tidemill.ledger import record
from tidemill.serve.wire import arrow
from tidemill.serve.wire.request import Answer
from tidemill.settings import Objective


def identity(classes: tuple[Any, ...] | tuple[str, ...], version: str = "7") -> Identity:
    objective = Objective.MULTICLASS if classes else Objective.REGRESSION
    return Identity(model="m", version=version, created="", objective=objective, classes=list(classes))


def answered(answer: Any) -> pa.Table:
    return pa.ipc.open_stream(arrow.encode("ab1", answer).body).read_all()


def classes_answer(probabilities: Any, labels: Any, by: Any = None) -> Any:
    answers = {"probabilities": np.array(probabilities, np.float32), "label": np.array(labels, object)}
    return Answer(answers, identity(("a", "ü")), record.Role.CHAMPION, by)


def test_classes_in_the_answer() -> None:
    table = answered(classes_answer([[0.25, 0.75], [1 / 3, 2 / 3]], ["ü", "ü"]))
    assert table.schema.names == ["id", "probability_a", "probability_ü", "label"]
    assert table["id"].to_pylist() == ["ab1-0", "ab1-1"] and table["label"].to_pylist() == ["ü", "ü"]
    assert table["probability_a"].to_pylist() == np.array([0.25, 1 / 3], np.float32).tolist(), "bit for bit"
    assert table.schema.field("label").type == pa.large_string() and table.schema.field(1).type == pa.float32()


def test_values_in_the_answer() -> None:
    answers = {name: np.array([value], np.float32) for name, value in (("value", 1.5), ("lower", 1), ("upper", 2))}
    table = answered(Answer(answers, identity(()), record.Role.CHAMPION))
    assert table.to_pylist() == [{"id": "ab1-0", "value": 1.5, "lower": 1.0, "upper": 2.0}]


def test_no_rows_and_many() -> None:
    assert answered(classes_answer(np.empty((0, 2)), [])).num_rows == 0
    table = answered(classes_answer(np.ones((3000, 2)), ["a"] * 3000))
    assert table["id"].to_pylist()[-1] == "ab1-2999"


def test_each_row_names_its_version_where_there_are_several() -> None:
    by = [("7", record.Role.CHAMPION), ("8", record.Role.CANARY), ("7", record.Role.CHAMPION)]
    table = answered(classes_answer([[1, 0], [0.125, 0.875], [0.5, 0.5]], ["a", "ü", "a"], by))
    assert table["id"].to_pylist() == ["ab1-0", "ab1-1", "ab1-2"]
    assert table["version"].to_pylist() == ["7", "8", "7"] and table["label"].to_pylist() == ["a", "ü", "a"]
    assert table["probability_a"].to_pylist() == [1.0, 0.125, 0.5]
