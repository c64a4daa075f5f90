"""The predictor: a bundle's folder in, answers out. It knows no HTTP and no Ray."""

from pathlib import Path

from tidemill.bundle import checksums, folder, golden, manifest
from tidemill.bundle.answers import Answers
from tidemill.bundle.runtime import Runtime
from tidemill.data.raw import Raw


class Predictor:
    """A bundle that has been checked and is ready to answer.

    Args:
        bundle: a folder that holds one whole bundle.
        threads, provider: see `Runtime`.

    Raises:
        BundleError: a file is altered, the graph is not self-contained, or it gives other answers than recorded.
        SettingsError: the provider is not available here.
    """

    def __init__(self, bundle: Path, *, threads: int | None = None, provider: str = "cpu") -> None:
        checksums.verify(bundle)
        self.manifest = manifest.read(bundle)
        self.columns = self.manifest.schema.inputs
        self.golden = golden.read(bundle / golden.NAME, self.columns)
        content = (bundle / folder.MODEL).read_bytes()
        self._runtime = Runtime(content, self.manifest.interface, threads=threads, provider=provider)
        golden.replay(self._runtime, self.golden)

    def predict(self, raw: Raw) -> Answers:
        """Answers to N raw rows of `columns` by the raw input contract, by answer name; N may be 0."""
        return self._runtime(raw)
