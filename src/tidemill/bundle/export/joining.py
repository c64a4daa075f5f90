"""From a fitted preparation and a trained network to one ONNX graph: raw columns in, answers out.

The network is exported by `torch.onnx.export(dynamo=True)`, joined behind the preparation with
`spox.inline`, and class labels are looked up at the end, inside the graph. Shapes: B rows, N numeric
and C categorical features.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import onnx
import spox
import spox.opset.ai.onnx.v21 as op
import torch
from torch import nn

import tidemill
from tidemill import garbage
from tidemill.bundle import answers, graph
from tidemill.data.target import Target
from tidemill.errors import BundleError, ExportError
from tidemill.settings import Objective

_EXAMPLE_ROWS = 3  # not 0, 1 or 2: sizes that torch.export may specialise on, or that could be another dimension


def join(preparation: onnx.ModelProto, network: nn.Module, target: Target) -> onnx.ModelProto:
    """Join the two into one self-contained model; parity is checked afterwards (`parity.py`).

    Args:
        preparation: raw columns → `numeric` float32 [B, N] and `categorical` int64 [B, C].
        network: `forward(numeric_BN, categorical_BC)` → the tensors named by `answers.network_outputs`,
            as one tensor or a tuple in that order (`models.heads.Answering`).

    Raises:
        ExportError: the network does not export, or the joined graph is not a valid, self-contained one.
    """
    columns = tuple(value.name for value in preparation.graph.input)
    try:
        model = _joined(preparation, _exported(preparation, network, target.objective), target)
        model.metadata_props.add(key="tidemill", value=tidemill.__version__)
        model.producer_name, model.producer_version = "tidemill", tidemill.__version__
        onnx.checker.check_model(model, full_check=True)
        graph.check(model.SerializeToString())
        _check_batch_is_free(model)
    except ExportError:
        raise
    except BundleError as error:
        raise ExportError(error.rule, observed=error.observed, remedy=error.remedy) from error
    except Exception as error:  # torch, spox and onnx raise many kinds
        raise ExportError(
            "The network and its preparation must export to one ONNX graph",
            observed=f"{type(error).__name__}: {str(error).strip()[:2000]} ({len(columns)} input columns)",
            remedy="use a model whose forward torch.onnx.export understands, and check the column names",
        ) from error
    return model


def _exported(preparation: onnx.ModelProto, network: nn.Module, objective: Objective) -> onnx.ModelProto:
    """The network alone, with inputs `numeric`, `categorical` and a free batch dimension."""
    widths = {value.name: value.type.tensor_type.shape.dim[1].dim_value for value in preparation.graph.output}
    example = (
        torch.zeros(_EXAMPLE_ROWS, widths["numeric"]),
        torch.zeros(_EXAMPLE_ROWS, widths["categorical"], dtype=torch.int64),
    )
    training, device = network.training, next(network.parameters(), example[0]).device
    try:
        with _quiet(), garbage.paused():
            program = torch.onnx.export(
                network.eval().cpu(),
                example,
                dynamo=True,
                input_names=["numeric", "categorical"],
                output_names=list(answers.network_outputs(objective)),
                # A name, not a shared torch.export.Dim: that one bakes the example batch into the graph.
                dynamic_shapes=({0: "batch"}, {0: "batch"}),
                external_data=False,
                verbose=False,
            )
    finally:
        network.train(training).to(device)
    assert program is not None
    return program.model_proto


def _joined(preparation: onnx.ModelProto, network: onnx.ModelProto, target: Target) -> onnx.ModelProto:
    inputs = {value.name: spox.argument(_type(value)) for value in preparation.graph.input}
    prepared = spox.inline(preparation)(**inputs)
    results = dict(spox.inline(network)(numeric=prepared["numeric"], categorical=prepared["categorical"]))
    if target.objective is not Objective.REGRESSION:
        classes = op.const(np.array(target.classes, dtype=np.str_))
        results["label"] = op.gather(classes, op.arg_max(results["probabilities"], axis=1, keepdims=0))
    return spox.build(
        inputs,
        {answers.tensor_name(name, tuple(inputs)): results[name] for name in answers.names(target.objective)},
        drop_unused_inputs=False,
    )


def _type(value: onnx.ValueInfoProto) -> spox.Tensor:
    """A raw column: one value a row. (ONNX's own table gives `object` for text, which spox refuses.)"""
    element = value.type.tensor_type.elem_type
    text = element == onnx.TensorProto.STRING
    return spox.Tensor(np.str_ if text else onnx.helper.tensor_dtype_to_np_dtype(element), ("batch",))


def _check_batch_is_free(model: onnx.ModelProto) -> None:
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.shape.dim[0].dim_value:
            raise ExportError(
                "A model answers any number of rows at once",
                observed=f"{value.name!r} is fixed to {value.type.tensor_type.shape.dim[0].dim_value} rows",
                remedy="keep the batch size out of the network's forward (no int(x.shape[0]), no fixed reshape)",
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the exporter says about optional packages and its own internals."""
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = log.level
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="# The axis name: batch will not be used")
        warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
        log.setLevel(logging.ERROR)
        try:
            yield
        finally:
            log.setLevel(level)
