"""Server and model metadata, model configuration, statistics and the repository's index, as JSON values."""

from collections.abc import Mapping, Sequence
from typing import Any

import tidemill
from tidemill.bundle.answers import names
from tidemill.bundle.manifest import Identity
from tidemill.data.schema import Column
from tidemill.serve.wire.inference.columns import OFFERED
from tidemill.serve.wire.inference.responses import DATATYPES
from tidemill.serve.wire.inference.statistics import Statistics

EXTENSIONS = ("binary_tensor_data", "model_configuration", "model_repository", "parameters", "statistics")
_PLATFORM = "onnxruntime_onnx"
_READY, _UNAVAILABLE = "READY", "UNAVAILABLE"


def server_metadata() -> dict[str, Any]:
    return {"name": "tidemill", "version": tidemill.__version__, "extensions": list(EXTENSIONS)}


def model_metadata(identity: Identity, columns: Sequence[Column], versions: Sequence[str]) -> dict[str, Any]:
    """columns: those that a request sends. versions: those that can be asked for."""
    return {
        "name": identity.model,
        "versions": list(versions),
        "platform": _PLATFORM,
        "inputs": [{"name": column.name, "datatype": OFFERED[column.kind], "shape": [-1]} for column in columns],
        "outputs": [
            {"name": name, "datatype": DATATYPES[name], "shape": shape} for name, shape in _outputs(identity).items()
        ],
    }


def model_config(identity: Identity, columns: Sequence[Column], versions: Sequence[str]) -> dict[str, Any]:
    """Shapes are written out, the rows' dimension as -1, so `max_batch_size` is 0: nothing is put before them."""
    return {
        "name": identity.model,
        "platform": _PLATFORM,
        "backend": "onnxruntime",
        "version_policy": {"specific": {"versions": [int(version) for version in versions if version.isdigit()]}},
        "max_batch_size": 0,
        "input": [
            {
                "name": column.name,
                "data_type": _configured(OFFERED[column.kind]),
                "format": "FORMAT_NONE",
                "dims": [-1],
                "optional": column.missing_allowed,
            }
            for column in columns
        ],
        "output": [
            {"name": name, "data_type": _configured(DATATYPES[name]), "dims": shape}
            for name, shape in _outputs(identity).items()
        ],
        "default_model_filename": "model.onnx",
        "model_transaction_policy": {"decoupled": False},
    }


def model_statistics(model: str, statistics: Mapping[str, Statistics]) -> dict[str, Any]:
    """statistics: by version."""
    return {"model_stats": [kept.document(model, version) for version, kept in statistics.items()]}


def repository_index(model: str, versions: Mapping[str, str | None], ready: bool) -> list[dict[str, str]]:
    """versions: why each cannot be used, or None where it can. ready: leave out those that cannot."""
    return [
        {"name": model, "version": version, "state": _UNAVAILABLE if reason else _READY, "reason": reason or ""}
        for version, reason in versions.items()
        if not (ready and reason)
    ]


def _outputs(identity: Identity) -> dict[str, list[int]]:
    wide = {"probabilities": [-1, len(identity.classes)]}
    return {name: wide.get(name, [-1]) for name in names(identity.objective)}


def _configured(datatype: str) -> str:
    return "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"
