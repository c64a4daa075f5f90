"""Weights of an ONNX graph, for tests that change a model."""

from collections.abc import Iterator

import onnx


def tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Initializers and constants, those of graphs inside it among them."""
    yield from graph.initializer
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        yield from [attribute.t] if attribute.HasField("t") else []
        yield from tensors(attribute.g) if attribute.HasField("g") else []
