"""Sessions of ONNX Runtime, on the provider that was asked for and never on another."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from tidemill.bundle import parts
from tidemill.errors import SettingsError
from tidemill.extras import install

_CPU = "CPUExecutionProvider"
# TF32 drops 13 of float32's 23 bits; the answers must be those of the golden rows.
_CUDA = ("CUDAExecutionProvider", {"use_tf32": "0"})
PROVIDERS: dict[str, tuple[Any, ...]] = {
    "cpu": (_CPU,),
    "cuda": (_CUDA, _CPU),
    "tensorrt": ("TensorrtExecutionProvider", _CUDA, _CPU),
}
"""The first is the one in use; those behind it take the nodes that it has no kernel for."""


def open_session(
    model: onnx.ModelProto | bytes | Path, provider: str = "cpu", threads: int | None = None
) -> onnxruntime.InferenceSession:
    """A session for many threads at once, whose own threads do not spin: replicas share the cores.

    A file is read without holding the interpreter; bytes are copied while it is held.

    Raises:
        SettingsError: the provider is unknown, not available here, or not the one that ONNX Runtime took.
    """
    wanted = check(provider)
    if provider != "cpu":
        onnxruntime.preload_dlls()  # CUDA and cuDNN from pip's packages, where there are some
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.inter_op_num_threads = 1
    if threads is not None:
        options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    content = model.SerializeToString() if isinstance(model, onnx.ModelProto) else model
    # Otherwise ONNX Runtime moves to another provider by itself, even in the middle of a run.
    session = onnxruntime.InferenceSession(content, options, providers=list(PROVIDERS[provider]), enable_fallback=0)
    if session.get_providers()[0] != wanted:
        raise _not_in_use(provider, f"ONNX Runtime fell back to {session.get_providers()[0]}")
    return session


def check(provider: str) -> str:
    """ONNX Runtime's name of a provider that this installation has.

    Raises:
        SettingsError: it is unknown, or not available here.
    """
    available = onnxruntime.get_available_providers()
    first = PROVIDERS[provider][0] if provider in PROVIDERS else ""
    wanted = first if isinstance(first, str) else str(first[0])
    if wanted not in available:
        raise _not_in_use(provider, f"this installation offers {', '.join(available)}")
    return wanted


class Placed:
    """A graph whose numeric part runs on a device, and what reads and writes text on the CPU.

    `run` is that of a session: ONNX Runtime binds no text to a device's memory, so text never gets there.

    Raises:
        SettingsError: as `open_session`; or the graph has no numeric part.
    """

    def __init__(self, model: onnx.ModelProto, provider: str, threads: int | None = None) -> None:
        cut = parts.cut(model)
        if cut.middle is None:
            raise _not_in_use(provider, "the graph holds no part that works on numbers alone")
        self._middle = _Part(open_session(cut.middle, provider, threads))
        self._before = cut.before and _Part(open_session(cut.before, threads=threads))
        self._after = cut.after and _Part(open_session(cut.after, threads=threads))
        self._inputs, self._outputs = model.graph.input, model.graph.output

    def get_inputs(self) -> Sequence[Any]:
        return list(self._inputs)

    def get_outputs(self) -> Sequence[Any]:
        return list(self._outputs)

    def run(self, outputs: Sequence[str], given: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        values = dict(given)
        if self._before:
            self._before.run(values)
        self._middle.run_bound(values)
        if self._after:
            self._after.run(values)
        return [values[name] for name in outputs]


class _Part:
    """One session, which takes its inputs from values by name and leaves its outputs there."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._inputs = [value.name for value in session.get_inputs()]
        self._outputs = [value.name for value in session.get_outputs()]

    def run(self, values: dict[str, Any]) -> None:
        found = self._session.run(self._outputs, {name: values[name] for name in self._inputs})
        values.update(zip(self._outputs, found, strict=True))

    def run_bound(self, values: dict[str, Any]) -> None:
        """As `run`, with one copy of each input to the device and of each output back."""
        binding = self._session.io_binding()  # one for each run: it holds state, and runs go on side by side
        for name in self._inputs:
            binding.bind_cpu_input(name, values[name])
        for name in self._outputs:
            binding.bind_output(name)
        self._session.run_with_iobinding(binding)
        values.update(zip(self._outputs, binding.copy_outputs_to_cpu(), strict=True))


def _not_in_use(provider: str, observed: str) -> SettingsError:
    return SettingsError(
        f"The provider that is asked for must be the one in use ({' or '.join(PROVIDERS)})",
        observed=f"{provider!r}: {observed}",
        remedy="ask for cpu; or, on a machine with a CUDA device, `python -m pip uninstall onnxruntime`, and then, "
        + install("gpu"),
    )
