"""A bundle's graph in ONNX Runtime: raw rows in, answers out."""

from typing import Any

import numpy as np
import onnx
import onnxruntime

from tidemill.bundle import graph
from tidemill.bundle.answers import Answers
from tidemill.bundle.manifest import Interface
from tidemill.data.raw import MISSING, Raw
from tidemill.errors import BundleError, SettingsError

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class Runtime:
    """One session. Safe to call from several threads.

    Args:
        content: model.onnx.
        threads: for one run of the graph; None leaves ONNX Runtime's choice.
        provider: cpu or cuda; another one is never used in its place.

    Raises:
        BundleError: the graph cannot be opened, is not self-contained, or is not what `interface` describes.
        SettingsError: the provider is not available here.
    """

    def __init__(
        self, content: bytes, interface: Interface, *, threads: int | None = None, provider: str = "cpu"
    ) -> None:
        self._session = _session(content, threads, provider)
        self._inputs = [entry.name for entry in interface.inputs]
        self._missing = {entry.name: MISSING[entry.kind] for entry in interface.inputs}
        self._outputs = {output.tensor: output.name for output in interface.outputs}
        inputs = [value.name for value in self._session.get_inputs()]
        outputs = [value.name for value in self._session.get_outputs()]
        if set(inputs) != set(self._inputs) or set(outputs) != set(self._outputs):
            raise BundleError(
                "A bundle's manifest describes the inputs and outputs of its graph",
                observed=f"the graph has {', '.join(inputs)} → {', '.join(outputs)}; "
                f"the manifest {', '.join(self._inputs)} → {', '.join(self._outputs)}",
                remedy="export the bundle again",
            )

    def __call__(self, raw: Raw) -> Answers:
        """Answers to N raw rows, by answer name; N may be 0. Columns that the graph does not read are passed over."""
        given = {name: raw[name] for name in self._inputs}
        none = not any(map(len, given.values()))
        if none:  # without a row, fused operators of some ONNX Runtimes divide by zero, which ends the process
            given = {name: np.full(1, self._missing[name], values.dtype) for name, values in given.items()}
        found: list[Any] = self._session.run(list(self._outputs), given)
        return {
            name: values[:0] if none else values for name, values in zip(self._outputs.values(), found, strict=True)
        }


def _session(content: bytes, threads: int | None, provider: str) -> onnxruntime.InferenceSession:
    wanted = PROVIDERS.get(provider)
    available = onnxruntime.get_available_providers()
    if wanted not in available:
        raise _not_available(provider, f"this installation offers {', '.join(available)}")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        graph.check(onnx.load_model_from_string(content))
        session = onnxruntime.InferenceSession(content, options, providers=[wanted])
    except BundleError:
        raise
    except Exception as error:  # protobuf and ONNX Runtime raise many kinds
        raise BundleError(
            "A bundle's model.onnx can be opened by ONNX Runtime",
            observed=f"{type(error).__name__}: {error}",
            remedy="use the onnxruntime version named in the manifest, or export the bundle again",
        ) from error
    if session.get_providers()[0] != wanted:
        raise _not_available(provider, f"ONNX Runtime fell back to {session.get_providers()[0]}")
    return session


def _not_available(provider: str, observed: str) -> SettingsError:
    return SettingsError(
        f"The provider that is asked for must be the one in use ({' or '.join(PROVIDERS)})",
        observed=f"{provider!r}: {observed}",
        remedy="install the extra `gpu` on a machine with a CUDA device, or ask for cpu",
    )
