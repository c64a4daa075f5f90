"""A bundle's graph in ONNX Runtime: raw rows in, answers out."""

import mmap
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from tidemill.bundle import graph
from tidemill.bundle.answers import Answers
from tidemill.bundle.manifest import Interface
from tidemill.bundle.sessions import Placed, open_session
from tidemill.data.raw import MISSING, Raw
from tidemill.errors import BundleError, SettingsError, listed

_WARMED = (1, 4096)
"""Rows that a device is tried with at first: TensorRT builds its engines for the sizes between those that it has seen,
and builds them again, for seconds, where another one comes."""


class Runtime:
    """One graph, ready to run. Safe to call from several threads.

    Args:
        model: the content of model.onnx; or where it lies, if nobody else can write there while it is checked and read.
        threads: for one run of the graph; None leaves ONNX Runtime's choice.
        provider: cpu, cuda or tensorrt; another one is never used in its place. On a GPU, text stays on the CPU.

    Raises:
        BundleError: the graph cannot be opened, is not self-contained, or is not what `interface` describes.
        SettingsError: the provider is not available here.
    """

    def __init__(
        self, model: bytes | Path, interface: Interface, *, threads: int | None = None, provider: str = "cpu"
    ) -> None:
        self._session = _opened(model, threads, provider)
        self._inputs = [entry.name for entry in interface.inputs]
        self._names = frozenset(self._inputs)
        self._missing = {entry.name: MISSING[entry.kind] for entry in interface.inputs}
        self._tensors = [output.tensor for output in interface.outputs]
        self._answers = [output.name for output in interface.outputs]
        inputs = [value.name for value in self._session.get_inputs()]
        outputs = [value.name for value in self._session.get_outputs()]
        if odd := (set(inputs) ^ self._names) | (set(outputs) ^ set(self._tensors)):
            raise BundleError(
                "A bundle's manifest describes the inputs and outputs of its graph",
                observed=f"only one of the two has {listed(sorted(odd), quoted=True)}",
                remedy="export the bundle again",
            )
        if provider != "cpu":
            for rows in _WARMED:
                self._run(self._empty(rows))

    def __call__(self, raw: Raw) -> Answers:
        """Answers to N raw rows, by answer name; N may be 0. Columns that the graph does not read are passed over."""
        given = raw if raw.keys() == self._names else {name: raw[name] for name in self._inputs}
        if len(given[self._inputs[0]]):
            return self._run(given)
        # without a row, fused operators of some ONNX Runtimes divide by zero, which ends the process
        return {name: values[:0] for name, values in self._run(self._empty(1)).items()}

    def _run(self, given: Raw) -> Answers:
        return dict(zip(self._answers, self._session.run(self._tensors, given), strict=True))

    def _empty(self, rows: int) -> Raw:
        """Rows in which every value is missing."""
        return {
            name: np.full(rows, value, dtype=object if isinstance(value, str) else None)
            for name, value in self._missing.items()
        }


def _opened(model: bytes | Path, threads: int | None, provider: str) -> Any:
    try:
        if isinstance(model, bytes):
            graph.check(model)
        else:  # most of it is passed over: it need not be read, let alone be copied
            with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                graph.check(content)
        if provider == "cpu":
            return open_session(model, threads=threads)
        parsed = onnx.load_model_from_string(model) if isinstance(model, bytes) else onnx.load_model(model)
        return Placed(parsed, provider, threads)
    except (BundleError, SettingsError):
        raise
    except Exception as error:  # protobuf and ONNX Runtime raise many kinds
        raise BundleError(
            "A bundle's model.onnx can be opened by ONNX Runtime",
            observed=f"{type(error).__name__}: {error}",
            remedy="use the onnxruntime version named in the manifest, or export the bundle again",
        ) from error
