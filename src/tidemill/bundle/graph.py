"""What a bundle's graph may be: one self-contained file of standard operators.

Both sides go by it: the export refuses to make anything else, the predictor to load it.
"""

from collections.abc import Iterator
from typing import Any

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
    outside = sorted({tensor.name for tensor in _tensors(model) if tensor.data_location or tensor.external_data})
    if outside:
        raise BundleError(
            "A model's weights lie in model.onnx itself",
            observed=f"{outside[0]!r} and {len(outside) - 1} more are references to other files",
            remedy="save the graph with its weights inside",
        )


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    return (part for part in _parts(model) if isinstance(part, onnx.NodeProto))


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    return (part for part in _parts(model) if isinstance(part, onnx.TensorProto))


def _parts(model: onnx.ModelProto) -> Iterator[Any]:
    """Every message in the file: whatever place of it holds a graph or a tensor, and whatever it is declared to be."""
    waiting: list[Any] = [model]
    while waiting:
        part = waiting.pop()
        yield part
        for field, value in part.ListFields():
            if field.message_type is not None:
                waiting.extend([value] if hasattr(value, "ListFields") else value)
