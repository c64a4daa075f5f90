"""The predictor: a bundle's folder in, answers out. It knows no HTTP and no Ray."""

from pathlib import Path
from typing import Any

import onnx
import onnxruntime

from tidemill.bundle import checksums, folder, golden, graph, manifest
from tidemill.bundle.answers import Answers
from tidemill.data.raw import Raw
from tidemill.errors import BundleError, SettingsError

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class Predictor:
    """A bundle that has been checked and is ready to answer.

    Args:
        bundle: a folder that holds one whole bundle.
        threads: for one run of the graph; None leaves ONNX Runtime's choice.
        provider: cpu or cuda; another one is never used in its place.

    Raises:
        BundleError: a file is altered, the graph is not self-contained, or it gives other answers than recorded.
        SettingsError: the provider is not available here.
    """

    def __init__(self, bundle: Path, *, threads: int | None = None, provider: str = "cpu") -> None:
        checksums.verify(bundle)
        self.manifest = manifest.read(bundle)
        self.columns = self.manifest.schema.inputs
        self.golden = golden.read(bundle / golden.NAME, self.columns)
        self._session = _session(bundle / folder.MODEL, threads, provider)
        self._inputs = [entry.name for entry in self.manifest.interface.inputs]
        self._outputs = {output.tensor: output.name for output in self.manifest.interface.outputs}
        self._check_interface(bundle)
        golden.replay(self.predict, self.golden)

    def predict(self, raw: Raw) -> Answers:
        """Answers to N raw rows, by answer name; N may be 0. Safe to call from several threads.

        Args:
            raw: all of `columns`, by the raw input contract.
        """
        found: list[Any] = self._session.run(list(self._outputs), {name: raw[name] for name in self._inputs})
        return dict(zip(self._outputs.values(), found, strict=True))

    def _check_interface(self, bundle: Path) -> None:
        inputs = [value.name for value in self._session.get_inputs()]
        outputs = {value.name for value in self._session.get_outputs()}
        if set(inputs) != set(self._inputs) or not outputs.issuperset(self._outputs):
            raise BundleError(
                "A bundle's manifest describes the inputs and outputs of its graph",
                observed=f"{bundle}: the graph has {', '.join(inputs)} → {', '.join(sorted(outputs))}",
                remedy="export the bundle again",
            )


def _session(path: Path, threads: int | None, provider: str) -> onnxruntime.InferenceSession:
    wanted = PROVIDERS.get(provider)
    if wanted not in onnxruntime.get_available_providers():
        raise _not_available(provider, f"this installation offers {', '.join(onnxruntime.get_available_providers())}")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        content = path.read_bytes()
        graph.check(onnx.load_model_from_string(content))
        session = onnxruntime.InferenceSession(content, options, providers=[wanted])
    except BundleError:
        raise
    except Exception as error:  # protobuf and ONNX Runtime raise many kinds
        raise BundleError(
            "A bundle's model.onnx can be opened by ONNX Runtime",
            observed=f"{path}: {type(error).__name__}: {error}",
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
