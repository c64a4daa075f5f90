from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from small_bundle import Small
from tidemill.bundle import graph
from tidemill.errors import BundleError


def outside(name: str = "w") -> onnx.TensorProto:
    """A tensor whose values lie in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


def named_outside(name: str = "w") -> onnx.TensorProto:
    """As `outside`, but declared to lie inside."""
    tensor = outside(name)
    tensor.ClearField("data_location")
    return tensor


def evil() -> onnx.NodeProto:
    return helper.make_node("Evil", ["x"], ["y"], domain="com.example")


def standard(**attributes: Any) -> onnx.NodeProto:
    return helper.make_node("Identity", ["x"], ["y"], **attributes)


def body(
    nodes: list[onnx.NodeProto] | tuple[Any, ...] = (), tensors: list[onnx.TensorProto] | tuple[Any, ...] = ()
) -> onnx.GraphProto:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in "xy")
    return helper.make_graph(list(nodes) or [standard()], "g", [x], [y], initializer=list(tensors))


def model(nodes: list[onnx.NodeProto] | tuple[Any, ...] = (), tensors: tuple[Any, ...] = ()) -> onnx.ModelProto:
    return helper.make_model(body(nodes, tensors))


def branch(inner: onnx.GraphProto) -> onnx.ModelProto:
    return model([helper.make_node("If", ["x"], ["y"], then_branch=body(), else_branch=inner)])


def deep(inner: onnx.GraphProto) -> onnx.ModelProto:
    return branch(body([helper.make_node("Loop", ["x", "x"], ["y"], body=inner)]))


def function(nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    made = model()
    opsets = [helper.make_opsetid("", 20)]
    made.functions.append(helper.make_function("local", "f", ["x"], ["y"], nodes, opsets))
    return made


def in_graphs(inner: onnx.GraphProto) -> onnx.ModelProto:
    node = standard()
    node.attribute.add(name="bodies", type=onnx.AttributeProto.GRAPHS).graphs.add().CopyFrom(inner)
    return model([node])


def in_a_disguise(inner: onnx.GraphProto) -> onnx.ModelProto:
    """The attribute says that it is an integer."""
    node = standard()
    node.attribute.add(name="body", type=onnx.AttributeProto.INT).g.CopyFrom(inner)
    return model([node])


def in_training(inner: onnx.GraphProto) -> onnx.ModelProto:
    made = model()
    made.training_info.add().algorithm.CopyFrom(inner)
    return made


def in_a_default(inner: onnx.GraphProto) -> onnx.ModelProto:
    made = function([standard()])
    made.functions[0].attribute_proto.add(name="body", type=onnx.AttributeProto.GRAPH).g.CopyFrom(inner)
    return made


def in_a_function(inner: onnx.GraphProto) -> onnx.ModelProto:
    return function([helper.make_node("If", ["x"], ["y"], then_branch=body(), else_branch=inner)])


def check(made: onnx.ModelProto) -> None:
    graph.check(made.SerializeToString())


PLACES = [branch, deep, in_graphs, in_a_disguise, in_training, in_a_default, in_a_function]


@pytest.mark.parametrize("place", PLACES)
def test_standard_operators_pass_everywhere(place: Callable[..., Any]) -> None:
    check(place(body()))


@pytest.mark.parametrize("place", PLACES)
def test_custom_operators_are_refused_everywhere(place: Callable[..., Any]) -> None:
    with pytest.raises(BundleError, match=r"standard ONNX operators only.*'com\.example'"):
        check(place(body([evil()])))


@pytest.mark.parametrize("tensor", [outside, named_outside])
@pytest.mark.parametrize("place", PLACES)
def test_weights_elsewhere_are_refused_everywhere(place: Callable[..., Any], tensor: Callable[..., Any]) -> None:
    with pytest.raises(BundleError, match=r"lie in model\.onnx itself.*'w' and 0 more"):
        check(place(body(tensors=[tensor()])))


def test_custom_operators_are_refused_in_functions() -> None:
    with pytest.raises(BundleError, match=r"'com\.example'"):
        check(function([evil()]))


@pytest.mark.parametrize("kind", ["t", "tensors", "sparse_tensor", "sparse_tensors", "sparse_initializer"])
def test_weights_elsewhere_are_refused_in_every_kind_of_tensor(kind: str) -> None:
    node = standard()
    made = model([node])
    attribute = made.graph.node[0].attribute.add(name="value")
    if kind == "t":
        attribute.t.CopyFrom(outside())
    elif kind == "tensors":
        attribute.tensors.add().CopyFrom(outside())
    elif kind == "sparse_tensor":
        attribute.sparse_tensor.values.CopyFrom(outside())
    elif kind == "sparse_tensors":
        attribute.sparse_tensors.add().indices.CopyFrom(outside())
    else:
        made.graph.sparse_initializer.add().values.CopyFrom(outside())
    with pytest.raises(BundleError, match=r"lie in model\.onnx itself.*'w'"):
        check(made)


def parsed(part: Any) -> Iterator[str]:
    """What protobuf's own parser finds."""
    yield part.DESCRIPTOR.name
    for found, value in part.ListFields():
        if found.message_type is not None:
            for one in [value] if hasattr(value, "ListFields") else value:
                yield from parsed(one)


def test_every_message_is_met(small: Small) -> None:
    for made in [deep(body([evil()], [outside()])), onnx.load(small.folder / "model.onnx")]:
        met = [kind for kind, _ in graph.messages(made.SerializeToString())]
        assert Counter(met) == Counter(parsed(made)) and len(met) > 10


def varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


GRAPH, NODE, DOMAIN, INITIALIZER, DATA_LOCATION = 7, 1, 7, 5, 14


@pytest.mark.parametrize("domains", [[b"com.example", b""], [b"", b"com.example"]])
def test_a_field_that_stands_twice_counts_twice(domains: list[bytes]) -> None:
    """A parser takes the last one, or merges them."""
    node = b"".join(field(DOMAIN, domain) for domain in domains)
    with pytest.raises(BundleError, match=r"'com\.example'"):
        graph.check(field(GRAPH, field(NODE, node)))
    with pytest.raises(BundleError, match=r"'com\.example'"):
        graph.check(b"".join(field(GRAPH, field(NODE, field(DOMAIN, domain))) for domain in domains))


def test_numbers_may_be_longer_than_they_must() -> None:
    tensor = varint(DATA_LOCATION << 3) + b"\x81\x80\x00"
    with pytest.raises(BundleError, match=r"lie in model\.onnx itself"):
        graph.check(field(GRAPH, field(INITIALIZER, tensor)))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (varint(GRAPH << 3 | 2) + b"\x05ab", "a field ends at byte 7"),
        (
            field(GRAPH, varint(NODE << 3 | 2) + b"\x05ab") + field(2, b"abc"),
            "ends at byte 9, its message at 6",
        ),
        (b"\x3b\x3c", "wire type 3"),
        (b"\x80" * 20, "does not end"),
        (b"\x08", "does not end"),
    ],
)
def test_what_is_no_message_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        graph.check(content)
