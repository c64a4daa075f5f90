"""A graph cut in three, for a device that knows no text: what reads text, what is all numbers, what writes text.

A node goes to the device when everything that it touches, its subgraphs included, is a dense tensor of
numbers of a type that is known. Every other node stays on the CPU, before or behind the device, whichever
keeps fewer of the numeric nodes off it: those that it waits for must run before it, those that wait for it
behind it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx
import onnx.inliner
from onnx import GraphProto, ModelProto, NodeProto, TypeProto, ValueInfoProto

_BEFORE, _MIDDLE, _AFTER = 0, 1, 2
_Types = Mapping[str, TypeProto]


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """Run in this order, each over the values of those before it; None where there is nothing to run."""

    before: ModelProto | None
    middle: ModelProto | None
    after: ModelProto | None


def cut(model: ModelProto) -> Parts:
    """The parts of a valid model, each a valid one; together they give every output that is not an input itself."""
    if model.functions:  # a function's body would hide what types it works on
        model = onnx.inliner.inline_local_functions(model)
    types = _types(onnx.shape_inference.infer_shapes(model).graph)
    # Constants run nowhere: each part that reads one gets its own, so that none turns into an input.
    nodes = [node for node in model.graph.node if node.op_type != "Constant"]
    places = _places(nodes, types)
    parts = [[node for node, at in zip(nodes, places, strict=True) if at == place] for place in range(3)]
    made: list[ModelProto | None] = []
    given = {value.name for value in model.graph.input}
    for place, part in enumerate(parts):
        later = {name for others in parts[place + 1 :] for node in others for name in _reads(node)}
        wanted = later | {value.name for value in model.graph.output}
        own = {name for node in part for name in node.output if name}
        if place == _AFTER:  # outputs that no node computes
            own |= wanted - given
        outputs = sorted(own & wanted)
        made.append(_part(model, part, outputs, given, types) if outputs else None)
        given |= own
    return Parts(before=made[_BEFORE], middle=made[_MIDDLE], after=made[_AFTER])


def _places(nodes: Sequence[NodeProto], types: _Types) -> list[int]:
    """One of the three for each node, never one before that of a node that it reads from.

    Of text nodes in a row, the later one waits for at least as many numeric nodes and is waited for by at most as
    many. So what reads from a node behind the device lies behind it too, and no node has to be in two places.
    """
    maker = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    reads = [{maker[name] for name in _reads(node) if name in maker} for node in nodes]
    text = [_touches_text(node, types) for node in nodes]
    numeric = sum(1 << i for i, is_text in enumerate(text) if not is_text)
    # Sets of nodes as bits: those that a node waits for, those that wait for it, itself included.
    above = [1 << i for i in range(len(nodes))]
    below = above.copy()
    for i, sources in enumerate(reads):
        for source in sources:
            above[i] |= above[source]
    for i in reversed(range(len(nodes))):
        for source in reads[i]:
            below[source] |= below[i]
    before = after = 0
    for i, is_text in enumerate(text):
        if is_text and (above[i] & numeric).bit_count() < (below[i] & numeric).bit_count():
            before |= above[i]
        elif is_text:
            after |= below[i]
    return [_BEFORE if before >> i & 1 else _AFTER if after >> i & 1 else _MIDDLE for i in range(len(nodes))]


def _part(
    model: ModelProto, nodes: Sequence[NodeProto], outputs: Sequence[str], given: set[str], types: _Types
) -> ModelProto:
    """These nodes as a model: `given` may be its inputs, constants are its own."""
    reads = {name for node in nodes for name in _reads(node)}
    inputs = sorted(reads & given)
    reads = (reads | set(outputs)) - given
    constants = [node for node in model.graph.node if node.op_type == "Constant" and node.output[0] in reads]
    graph = onnx.helper.make_graph(
        [*constants, *nodes],
        model.graph.name,
        [ValueInfoProto(name=name, type=types[name]) for name in inputs],
        [ValueInfoProto(name=name, type=types[name]) for name in outputs],
        initializer=[tensor for tensor in model.graph.initializer if tensor.name in reads],
        sparse_initializer=[tensor for tensor in model.graph.sparse_initializer if tensor.values.name in reads],
    )
    return onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def _types(graph: GraphProto) -> dict[str, TypeProto]:
    found = {tensor.name: _tensor_type(tensor.data_type, tensor.dims) for tensor in graph.initializer}
    for values in (graph.value_info, graph.output, graph.input):
        found.update((value.name, value.type) for value in values)
    return found


def _tensor_type(element: int, shape: Iterable[int]) -> TypeProto:
    made: TypeProto = onnx.helper.make_tensor_type_proto(element, list(shape))
    return made


def _touches_text(node: NodeProto, types: _Types) -> bool:
    if any(name and not _is_numeric(types.get(name)) for name in (*node.input, *node.output)):
        return True
    return any(_touches_text(inner, {**types, **_types(graph)}) for graph in _subgraphs(node) for inner in graph.node)


def _is_numeric(kind: TypeProto | None) -> bool:
    """Only of dense tensors, by their type: sequences have none here, and what has none may be text."""
    return kind is not None and kind.tensor_type.elem_type not in (onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING)


def _reads(node: NodeProto) -> set[str]:
    """Its inputs, and all that its subgraphs read: the names of the graph around it among them."""
    inner = (name for graph in _subgraphs(node) for part in graph.node for name in _reads(part))
    return {*node.input, *inner} - {""}


def _subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs
