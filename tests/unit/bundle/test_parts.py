import itertools
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from tidemill.bundle import parts
from tidemill.bundle.parts import Parts

FLOAT, INT, BOOL, TEXT = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL, TensorProto.STRING
GIVEN = {"x": np.array([1.5, -2, 3], np.float32), "y": np.array([0.5, 4, 1], np.float32)}
GIVEN["t"] = np.array(["a", "b", "?"], object)


def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    domain = "ai.onnx.ml" if kind == "LabelEncoder" else ""
    return helper.make_node(kind, inputs.split(), outputs.split(), domain=domain, **attributes)


def codes(inputs: str, outputs: str) -> onnx.NodeProto:
    return node("LabelEncoder", inputs, outputs, keys_strings=["a", "b"], values_floats=[1.0, 2.0], default_float=-1.0)


def texts(inputs: str, outputs: str) -> onnx.NodeProto:
    return node("LabelEncoder", inputs, outputs, keys_int64s=[0, 1], values_strings=["a", "b"], default_string="c")


def const(name: str, values: Any) -> onnx.NodeProto:
    return node("Constant", "", name, value=numpy_helper.from_array(np.array(values)))


def values(**types: Any) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(name, kind, ["n"]) for name, kind in types.items()]


def model(
    nodes: list[onnx.NodeProto],
    outputs: dict[str, int],
    *,
    initializer: list[onnx.TensorProto] | tuple[Any, ...] = (),
    functions: list[Any] | tuple[Any, ...] = (),
    inputs: None = None,
) -> onnx.ModelProto:
    inputs = inputs or {"x": FLOAT, "y": FLOAT, "t": TEXT}
    graph = helper.make_graph(nodes, "g", values(**inputs), values(**outputs), initializer=list(initializer))
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 4)]
    if functions:
        opsets.append(helper.make_opsetid("local", 1))
    made = helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=list(functions))
    onnx.checker.check_model(made, full_check=True)
    return made


def session(content: onnx.ModelProto) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content.SerializeToString(), options, providers=["CPUExecutionProvider"])


def in_parts(cut: Parts, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All values, after each part has been run over those before it."""
    found = dict(given)
    for part in (cut.before, cut.middle, cut.after):
        if part is not None:
            onnx.checker.check_model(part, full_check=True)
            run = session(part)
            names = [value.name for value in run.get_outputs()]
            found.update(zip(names, run.run(names, {v.name: found[v.name] for v in run.get_inputs()}), strict=True))
    return found


def kinds(part: onnx.ModelProto | None) -> list[Any] | list[str]:
    return [] if part is None else [one.op_type for one in part.graph.node if one.op_type != "Constant"]


def has_text(part: onnx.ModelProto) -> bool:
    declared = [*part.graph.input, *part.graph.output, *onnx.shape_inference.infer_shapes(part).graph.value_info]
    return any(value.type.tensor_type.elem_type == TEXT for value in declared)


def check(whole: onnx.ModelProto, before: str, middle: str, after: str, given: dict[str, np.ndarray] = GIVEN) -> Parts:
    """The parts have these operators, and together they answer as the whole does, bit for bit."""
    cut = parts.cut(whole)
    assert (kinds(cut.before), kinds(cut.middle), kinds(cut.after)) == (before.split(), middle.split(), after.split())
    assert cut.middle is None or not has_text(cut.middle)
    run = session(whole)
    names = [value.name for value in run.get_outputs()]
    found = in_parts(cut, given)
    for name, expected in zip(names, run.run(names, given), strict=True):
        np.testing.assert_array_equal(found[name], expected)
    return cut


def test_text_in_numbers_text_out() -> None:
    nodes = [codes("t", "c"), node("Mul", "c x", "m"), node("Cast", "m", "i", to=INT), texts("i", "o")]
    cut = check(model(nodes, {"m": FLOAT, "o": TEXT}), "LabelEncoder", "Mul Cast", "LabelEncoder")
    assert [value.name for value in cut.middle.graph.output] == ["i", "m"]
    assert cut.middle.ir_version == 10 and {(o.domain, o.version) for o in cut.middle.opset_import} == {
        ("", 21),
        ("ai.onnx.ml", 4),
    }


def test_numbers_alone_are_one_part() -> None:
    cut = check(model([node("Mul", "x y", "o")], {"o": FLOAT}), "", "Mul", "")
    assert cut.before is None and cut.after is None


def test_text_alone_leaves_nothing_for_the_device() -> None:
    cut = check(
        model([node("Identity", "t", "u"), codes("u", "o")], {"u": TEXT, "o": FLOAT}), "", "", "Identity LabelEncoder"
    )
    assert cut.before is None and cut.middle is None


def test_numbers_from_text_that_nobody_works_on() -> None:
    check(model([codes("t", "c"), node("Mul", "x y", "o")], {"c": FLOAT, "o": FLOAT}), "", "Mul", "LabelEncoder")


@pytest.mark.parametrize("initializer", [True, False])
def test_constants_go_where_they_are_read(initializer: bool) -> None:
    """A text and a number, each read on both sides of the cut."""
    tensors = {"word": np.array("a", object), "two": np.array(2, np.float32), "words": np.array(["n", "y"], object)}
    made = [numpy_helper.from_array(array, name) for name, array in tensors.items()]
    constants = [] if initializer else [node("Constant", "", tensor.name, value=tensor) for tensor in made]
    nodes = [
        *constants,
        node("Equal", "t word", "same"),
        node("Cast", "same", "s", to=FLOAT),
        node("Mul", "s two", "m"),
        node("Mul", "m x", "n"),
        node("Greater", "n two", "g"),
        node("Cast", "g", "i", to=INT),
        node("Gather", "words i", "label"),
        node("Equal", "label word", "o"),
    ]
    whole = model(nodes, {"n": FLOAT, "o": BOOL, "label": TEXT}, initializer=made if initializer else ())
    cut = check(whole, "Equal", "Cast Mul Mul Greater Cast", "Gather Equal")
    assert {value.name for value in cut.middle.graph.input} == {"same", "x"}


def test_cast_and_identity_of_text() -> None:
    nodes = [
        node("Cast", "x", "text", to=TEXT),  # no node of numbers comes before it
        node("Identity", "text", "same"),
        node("Cast", "same", "back", to=FLOAT),
        node("Mul", "back y", "m"),
        node("Cast", "m", "o", to=TEXT),
    ]
    check(model(nodes, {"o": TEXT, "m": FLOAT}), "Cast Identity Cast", "Mul", "Cast")


def test_text_amid_numbers_leaves_the_larger_side_to_the_device() -> None:
    head, tail = [node("Neg", "x", "a"), node("Abs", "a", "b")], [node("Neg", "d", "e"), node("Abs", "e", "f")]
    amid = [node("Cast", "b", "c", to=TEXT), node("Cast", "c", "d", to=FLOAT)]
    check(model([*head, *amid, *tail, node("Exp", "f", "o")], {"o": FLOAT}), "Neg Abs Cast Cast", "Neg Abs Exp", "")
    check(
        model([*head, node("Exp", "a", "o"), *amid, *tail[:1]], {"o": FLOAT, "e": FLOAT}),
        "",
        "Neg Abs Exp",
        "Cast Cast Neg",
    )


def branches(then: tuple[Any, ...], other: tuple[Any, ...], name: str) -> dict[str, onnx.GraphProto]:
    then, other = (
        helper.make_graph(nodes, f"{name}_{i}", [], values(**{nodes[-1].output[0]: kind}))
        for i, (nodes, kind) in enumerate((then, other))
    )
    return {"then_branch": then, "else_branch": other}


def test_subgraphs_of_numbers_go_to_the_device_with_what_they_read_around_them() -> None:
    both = branches(([node("Mul", "c x", "p")], FLOAT), ([node("Neg", "x", "q")], FLOAT), "b")
    nodes = [codes("t", "c"), const("yes", True), node("Neg", "y", "r"), node("If", "yes", "o", **both)]
    cut = check(model(nodes, {"o": FLOAT, "r": FLOAT}), "LabelEncoder", "Neg If", "")
    assert {value.name for value in cut.middle.graph.input} == {"c", "x", "y"}


def test_subgraphs_that_read_text_stay_on_the_cpu() -> None:
    both = branches(([codes("t", "p")], FLOAT), ([node("Neg", "x", "q")], FLOAT), "b")
    nodes = [const("yes", True), node("If", "yes", "c", **both), node("Mul", "c y", "o")]
    cut = check(model(nodes, {"o": FLOAT}), "If", "Mul", "")
    assert {value.name for value in cut.before.graph.input} == {"t", "x"}


def test_subgraphs_with_text_inside_stay_on_the_cpu() -> None:
    there = [node("Cast", "x", "s", to=TEXT), node("Cast", "s", "p", to=FLOAT)]
    both = branches((there, FLOAT), ([node("Neg", "x", "q")], FLOAT), "b")
    nodes = [const("yes", True), node("If", "yes", "c", **both), node("Mul", "c y", "o")]
    check(model(nodes, {"o": FLOAT}), "If", "Mul", "")


def test_functions_hide_nothing() -> None:
    opsets = [helper.make_opsetid("", 21)]
    body = [node("Neg", "a", "m"), node("Cast", "m", "s", to=TEXT), node("Cast", "s", "b", to=FLOAT)]
    made = helper.make_function("local", "Written", ["a"], ["b"], body, opsets)
    nodes = [node("Mul", "x y", "m"), node("Exp", "m", "e"), helper.make_node("Written", ["e"], ["o"], domain="local")]
    cut = check(model(nodes, {"o": FLOAT}, functions=[made]), "", "Mul Exp Neg", "Cast Cast")
    assert not cut.middle.functions


def test_what_is_no_tensor_stays_on_the_cpu() -> None:
    nodes = [node("SequenceConstruct", "x y", "s"), const("i", 1), node("SequenceAt", "s i", "at")]
    check(model([*nodes, node("Neg", "at", "o")], {"o": FLOAT}), "SequenceConstruct SequenceAt", "Neg", "")


def test_outputs_that_no_node_computes() -> None:
    tensor = numpy_helper.from_array(np.array([7.0], np.float32), "w")
    whole = model([const("k", ["a"]), node("Neg", "x", "o")], {"o": FLOAT}, initializer=[tensor])
    whole.graph.output.extend(helper.make_tensor_value_info(n, k, [1]) for n, k in (("k", TEXT), ("w", FLOAT)))
    cut = check(whole, "", "Neg", "")
    assert [value.name for value in cut.after.graph.output] == ["k", "w"]


def test_optional_inputs_and_outputs_without_a_name() -> None:
    nodes = [codes("t", "c"), helper.make_node("Clip", ["c", "", "top"], ["m"]), node("Dropout", "m", "o")]
    nodes.insert(0, const("top", np.float32(1.5)))
    nodes[-1].output.append("")
    check(model(nodes, {"o": FLOAT}), "LabelEncoder", "Clip Dropout", "")


def test_every_order_of_text_and_numbers_is_cut_where_it_can_be() -> None:
    """All graphs of five nodes, each of which reads the one before it and maybe the one before that."""
    for texty in itertools.product([False, True], repeat=5):
        for far in itertools.product([False, True], repeat=4):
            nodes, previous = [], "x"
            for i, is_text in enumerate(texty):
                if i and far[i - 1]:
                    nodes.append(node("Add", f"{previous} {'xy'[i % 2] if i < 2 else f'v{i - 2}'}", f"a{i}"))
                    previous = f"a{i}"
                if is_text:
                    nodes.append(node("Cast", previous, f"t{i}", to=TEXT))
                    nodes.append(node("Cast", f"t{i}", f"v{i}", to=FLOAT))
                else:
                    nodes.append(node("Neg", previous, f"v{i}"))
                previous = f"v{i}"
            cut = parts.cut(model(nodes, {previous: FLOAT}))
            made = {"x", "y"}
            seen = []
            for part in (cut.before, cut.middle, cut.after):
                if part is not None:
                    assert {value.name for value in part.graph.input} <= made
                    made |= {value.name for value in part.graph.output}
                    seen += part.graph.node
            assert sorted(n.output[0] for n in seen) == sorted(n.output[0] for n in nodes)
            assert cut.middle is None or not has_text(cut.middle)
            assert cut.middle is not None or all(texty)
