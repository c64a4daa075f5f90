"""What a bundle's graph may be: one self-contained file of standard operators.

Both sides go by it: the export refuses to make anything else, the predictor to load it.
"""

from collections.abc import Iterator

import onnx

from tidemill.errors import BundleError

STANDARD_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")


def check(model: onnx.ModelProto) -> None:
    """Pass a graph that needs nothing but this file and a standard ONNX runtime.

    Raises:
        BundleError: the graph has custom operators, or weights in another file.
    """
    foreign = sorted({node.domain for node in _nodes(model) if node.domain not in STANDARD_DOMAINS})
    if foreign:
        raise BundleError(
            "A model's graph holds standard ONNX operators only",
            observed=f"operators of {', '.join(map(repr, foreign))}",
            remedy="use a model that exports to standard operators; do not load graphs from elsewhere",
        )
    outside = sorted({tensor.name for tensor in _tensors(model) if tensor.data_location == onnx.TensorProto.EXTERNAL})
    if outside:
        raise BundleError(
            "A model's weights lie in model.onnx itself",
            observed=f"{outside[0]!r} and {len(outside) - 1} more are references to other files",
            remedy="save the graph with its weights inside",
        )


def _graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto | onnx.FunctionProto]:
    """The main graph, functions, and every branch or loop body inside them."""
    waiting: list[onnx.GraphProto | onnx.FunctionProto] = [model.graph, *model.functions]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                waiting.extend([attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else attribute.graphs)


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    for graph in _graphs(model):
        yield from graph.node


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    for graph in _graphs(model):
        if isinstance(graph, onnx.GraphProto):
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.TENSOR:
                    yield attribute.t
                yield from attribute.tensors
