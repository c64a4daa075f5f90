from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from small_bundle import Small
from tidemill.bundle import graph
from tidemill.bundle.answers import tensor_name
from tidemill.bundle.export import joining
from tidemill.data.raw import from_table
from tidemill.data.target import Target
from tidemill.errors import BundleError, ExportError
from tidemill.settings import Objective

MULTICLASS = Target(name="t", objective=Objective.MULTICLASS, classes=("a", "b"))


def preparation(columns: tuple[str, ...] = ("x",)) -> onnx.ModelProto:
    """The smallest graph that keeps a preparation's contract: numbers become features, no categories."""
    inputs = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["batch"]) for name in columns]
    outputs = [
        helper.make_tensor_value_info("numeric", TensorProto.FLOAT, ["batch", 1]),
        helper.make_tensor_value_info("categorical", TensorProto.INT64, ["batch", 0]),
    ]
    nodes = [
        helper.make_node("Cast", [columns[0]], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["cast", "one"], ["numeric"]),
        helper.make_node("Slice", ["numeric", "zero", "zero", "one"], ["none"]),
        helper.make_node("Cast", ["none"], ["categorical"], to=TensorProto.INT64),
    ]
    constants = [helper.make_tensor(name, TensorProto.INT64, [1], [i]) for i, name in enumerate(("zero", "one"))]
    made = helper.make_graph(nodes, "preparation", inputs, outputs, constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


class Linear(nn.Module):
    def __init__(self, outputs: int = 2) -> None:
        super().__init__()
        self.layer = nn.Linear(1, outputs)

    def forward(self, numeric: Any, categorical: Any) -> Any:
        return torch.softmax(self.layer(numeric), dim=1)


def run(model: onnx.ModelProto, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, feed)


def test_plain_onnxruntime_gives_the_torch_models_answers_at_any_batch(small: Small) -> None:
    model = onnx.load(small.folder / "model.onnx")
    session = onnxruntime.InferenceSession(model.SerializeToString())
    raw = from_table(small.table, small.schema.inputs)
    prepared = small.preparation.run(raw)
    with torch.inference_mode():
        expected = small.network(torch.from_numpy(prepared.numeric), torch.from_numpy(prepared.categorical))
    expected = [tensor.numpy() for tensor in (expected if isinstance(expected, tuple) else (expected,))]
    for rows in (0, 1, 2, 7, 400):
        feed = {value.name: raw[value.name][:rows] for value in session.get_inputs()}
        found = session.run(None, feed)
        for got, wanted in zip(found, expected, strict=False):
            np.testing.assert_allclose(got, wanted[:rows], rtol=1e-5, atol=1e-5)
        if small.target.classes:
            assert found[1].tolist() == [small.target.classes[i] for i in expected[0][:rows].argmax(axis=1)]


def test_the_file_is_self_contained_and_says_who_made_it(small: Small) -> None:
    model = onnx.load(small.folder / "model.onnx", load_external_data=False)
    graph.check(model.SerializeToString())
    assert {entry.key for entry in model.metadata_props} == {"tidemill"}
    assert not list(small.folder.glob("*.data"))


@pytest.mark.parametrize("name", ["label", "probabilities", "Inline_0__x", "a b/c", "ü", "x.y", "0"])
def test_columns_may_be_called_anything(name: str) -> None:
    model = joining.join(preparation((name,)), Linear(), MULTICLASS)
    assert [value.name for value in model.graph.input] == [name]
    outputs = [value.name for value in model.graph.output]
    assert outputs == [tensor_name("probabilities", (name,)), tensor_name("label", (name,))]
    assert run(model, {name: np.array([1.0, np.nan])})[1][0] in ("a", "b")


def test_a_taken_name_is_avoided_again_and_again() -> None:
    assert tensor_name("value", ("value", "answer_value")) == "answer_answer_value"


def test_a_network_that_cannot_be_exported_is_named() -> None:
    class Odd(Linear):
        def forward(self, numeric: Any, categorical: Any) -> Any:
            return super().forward(numeric, categorical) if float(numeric.sum()) > 0 else numeric

    with pytest.raises(ExportError, match=r"(?s)must export to one ONNX graph.*1 input columns"):
        joining.join(preparation(), Odd(), MULTICLASS)


def test_a_network_that_bakes_the_batch_in_is_refused() -> None:
    class Fixed(Linear):
        def forward(self, numeric: Any, categorical: Any) -> Any:
            return torch.softmax(self.layer(numeric), dim=1)[:3] + torch.zeros(3, 2)

    with pytest.raises(ExportError, match=r"any number of rows at once|must export to one ONNX graph"):
        joining.join(preparation(), Fixed(), MULTICLASS)


def test_a_graph_of_a_fixed_batch_is_refused() -> None:
    model = preparation()
    joining._check_batch_is_free(model)
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 3
    with pytest.raises(ExportError, match=r"any number of rows at once.*'numeric' is fixed to 3 rows"):
        joining._check_batch_is_free(model)


def test_the_network_comes_back_as_it_was() -> None:
    network = Linear().train()
    joining.join(preparation(), network, MULTICLASS)
    assert network.training


def test_custom_operators_are_refused_also_inside_branches() -> None:
    inner = helper.make_graph(
        [helper.make_node("Evil", [], ["y"], domain="com.example")],
        "branch",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [])],
    )
    node = helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=inner)
    made = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("c", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [])],
    )
    with pytest.raises(BundleError, match=r"standard ONNX operators only.*'com.example'"):
        graph.check(helper.make_model(made).SerializeToString())


def test_weights_in_other_files_are_refused(tmp_path: Path) -> None:
    model = preparation()
    tensor = model.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    with pytest.raises(BundleError, match=r"weights lie in model.onnx itself.*'w'"):
        graph.check(model.SerializeToString())


def test_a_preparation_with_custom_operators_does_not_export() -> None:
    model = preparation()
    model.graph.node[0].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    with pytest.raises(ExportError):
        joining.join(model, Linear(), MULTICLASS)
