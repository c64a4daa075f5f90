import onnx
import pytest
from onnx import TensorProto, helper

from tidemill.bundle import graph
from tidemill.errors import BundleError


def outside(name="w"):
    """A tensor whose values lie in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


def named_outside(name="w"):
    """As `outside`, but declared to lie inside."""
    tensor = outside(name)
    tensor.ClearField("data_location")
    return tensor


def evil():
    return helper.make_node("Evil", ["x"], ["y"], domain="com.example")


def standard(**attributes):
    return helper.make_node("Identity", ["x"], ["y"], **attributes)


def body(nodes=(), tensors=()):
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in "xy")
    return helper.make_graph(list(nodes) or [standard()], "g", [x], [y], initializer=list(tensors))


def model(nodes=(), tensors=()):
    return helper.make_model(body(nodes, tensors))


def branch(inner):
    return model([helper.make_node("If", ["x"], ["y"], then_branch=body(), else_branch=inner)])


def deep(inner):
    return branch(body([helper.make_node("Loop", ["x", "x"], ["y"], body=inner)]))


def function(nodes):
    made = model()
    opsets = [helper.make_opsetid("", 20)]
    made.functions.append(helper.make_function("local", "f", ["x"], ["y"], nodes, opsets))
    return made


def in_graphs(inner):
    node = standard()
    node.attribute.add(name="bodies", type=onnx.AttributeProto.GRAPHS).graphs.add().CopyFrom(inner)
    return model([node])


def in_a_disguise(inner):
    """The attribute says that it is an integer."""
    node = standard()
    node.attribute.add(name="body", type=onnx.AttributeProto.INT).g.CopyFrom(inner)
    return model([node])


def in_training(inner):
    made = model()
    made.training_info.add().algorithm.CopyFrom(inner)
    return made


def in_a_default(inner):
    made = function([standard()])
    made.functions[0].attribute_proto.add(name="body", type=onnx.AttributeProto.GRAPH).g.CopyFrom(inner)
    return made


def in_a_function(inner):
    return function([helper.make_node("If", ["x"], ["y"], then_branch=body(), else_branch=inner)])


PLACES = [branch, deep, in_graphs, in_a_disguise, in_training, in_a_default, in_a_function]


@pytest.mark.parametrize("place", PLACES)
def test_standard_operators_pass_everywhere(place):
    graph.check(place(body()))


@pytest.mark.parametrize("place", PLACES)
def test_custom_operators_are_refused_everywhere(place):
    with pytest.raises(BundleError, match=r"standard ONNX operators only.*'com\.example'"):
        graph.check(place(body([evil()])))


@pytest.mark.parametrize("tensor", [outside, named_outside])
@pytest.mark.parametrize("place", PLACES)
def test_weights_elsewhere_are_refused_everywhere(place, tensor):
    with pytest.raises(BundleError, match=r"lie in model\.onnx itself.*'w' and 0 more"):
        graph.check(place(body(tensors=[tensor()])))


def test_custom_operators_are_refused_in_functions():
    with pytest.raises(BundleError, match=r"'com\.example'"):
        graph.check(function([evil()]))


@pytest.mark.parametrize("kind", ["t", "tensors", "sparse_tensor", "sparse_tensors", "sparse_initializer"])
def test_weights_elsewhere_are_refused_in_every_kind_of_tensor(kind):
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
        graph.check(made)
