"""A preparation's graph cut in two, for tables: text → numbers, looked up once for each distinct text, and the rest."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
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
        names = list(dict.fromkeys(self.sources.values()))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            texts = dict(zip(names, pool.map(lambda name: _distinct(table[name]), names), strict=True))
        found = self.encoders.run(list(self.sources), {name: text.distinct for name, text in texts.items()})
        return {
            name: values[texts[source].number_at]
            for (name, source), values in zip(self.sources.items(), found, strict=True)
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


@dataclass(frozen=True, kw_only=True)
class _Texts:
    """A column of text: the distinct ones, and for each row the number of its text among them."""

    distinct: np.ndarray
    number_at: np.ndarray


def _distinct(values: pl.Series) -> _Texts:
    """Missing values count as ""."""
    # Categories of its own are numbered from 0 without a gap; the shared ones count every text of the process.
    numbers = values.cast(pl.Categorical(pl.Categories.random())).to_physical().cast(pl.UInt32)
    highest = numbers.max()
    count = 0 if highest is None else int(highest) + 1  # type: ignore[arg-type]
    number_at = numbers.fill_null(count).to_numpy()
    row = np.zeros(count + 1, dtype=np.int64)
    row[number_at] = np.arange(len(number_at))
    distinct = np.array([*values.gather(row[:count]).to_list(), ""], dtype=object)
    return _Texts(distinct=distinct, number_at=number_at)
