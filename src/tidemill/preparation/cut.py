"""A preparation's graph cut in two, for tables: text → numbers, looked up once for each distinct text, and the rest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import polars as pl


def session_of(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@dataclass(frozen=True, kw_only=True)
class Cut:
    """sources: name of each value on the cut → the text column that it is looked up from."""

    encoders: onnxruntime.InferenceSession | None
    rest: onnxruntime.InferenceSession
    sources: Mapping[str, str]

    def encode(self, table: pl.DataFrame) -> dict[str, np.ndarray]:
        """The values on the cut, [rows] each, of a typed table."""
        if self.encoders is None:
            return {}
        texts = {name: _distinct(table[name]) for name in dict.fromkeys(self.sources.values())}
        found = self.encoders.run(list(self.sources), {name: distinct for name, (distinct, _) in texts.items()})
        return {
            name: values[texts[source][1]] for (name, source), values in zip(self.sources.items(), found, strict=True)
        }


def cut(model: onnx.ModelProto) -> Cut:
    """Cuts behind the nodes that read text, which are all LabelEncoders."""
    texts = {one.name for one in model.graph.input if one.type.tensor_type.elem_type == onnx.TensorProto.STRING}
    encoders = [node for node in model.graph.node if texts & set(node.input)]
    assert all(node.op_type == "LabelEncoder" for node in encoders)
    if not encoders:
        return Cut(encoders=None, rest=session_of(model), sources={})
    # Without a named dimension, as columns differ in how many distinct texts they hold.
    text_inputs = [_vector(name, onnx.TensorProto.STRING) for name in sorted(texts)]
    values = [_vector(node.output[0], _type(node)) for node in encoders]
    others = [one for one in model.graph.input if one.name not in texts]
    behind = [node for node in model.graph.node if not texts & set(node.input)]
    return Cut(
        encoders=session_of(_part(model, encoders, text_inputs, values)),
        rest=session_of(_part(model, behind, [*others, *values], model.graph.output)),
        sources={node.output[0]: node.input[0] for node in encoders},
    )


def _part(
    model: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
) -> onnx.ModelProto:
    graph = onnx.helper.make_graph(nodes, model.graph.name, inputs, outputs, initializer=model.graph.initializer)
    return onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def _vector(name: str, kind: int) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, kind, [None])


def _type(encoder: onnx.NodeProto) -> int:
    codes = any(attribute.name == "values_int64s" for attribute in encoder.attribute)
    return int(onnx.TensorProto.INT64 if codes else onnx.TensorProto.DOUBLE)


def _distinct(values: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """The distinct texts ("" for missing), and for each row which of them it holds."""
    values = values.fill_null("")
    # Categories of its own, as the shared ones keep every text of the process and number them on.
    codes = values.cast(pl.Categorical(pl.Categories.random())).to_physical().to_numpy()
    row = np.full(int(codes.max(initial=0)) + 1, -1)
    row[codes] = np.arange(len(codes))
    used = row >= 0
    position = np.cumsum(used) - 1
    return values.gather(row[used]).to_numpy(), position[codes]
