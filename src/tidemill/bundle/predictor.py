"""The predictor: a bundle's folder in, answers out. It knows no HTTP and no Ray."""

import contextlib
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tidemill.bundle import checksums, folder, golden, manifest, signing
from tidemill.bundle.answers import Answers, joined
from tidemill.bundle.runtime import Runtime
from tidemill.data.raw import Raw
from tidemill.errors import BundleError

ROWS_AT_ONCE = 8_192
"""Keeps what one run of the graph computes in the processor's cache: 65,536 rows at once took three times as long."""


class Predictor:
    """A bundle that has been checked and is ready to answer.

    Args:
        bundle: a folder that holds one whole bundle.
        threads, provider: see `Runtime`.
        public_key: of who must have signed the bundle, checked before anything of it is parsed; None: nobody.

    Raises:
        BundleError: a file is altered or cannot be read, the graph is not self-contained, it gives other answers than
            recorded, or it is not signed as it must be.
        SettingsError: the provider is not available here, or the public key is none.
    """

    def __init__(
        self, bundle: Path, *, threads: int | None = None, provider: str = "cpu", public_key: Path | None = None
    ) -> None:
        with signing.verified(bundle, public_key) if public_key else contextlib.nullcontext(bundle) as files:
            if not public_key:  # a signature covers all files
                checksums.verify(files, checksums.NEEDED)
            self.manifest = manifest.read(files)
            self.columns = self.manifest.schema.inputs
            self.profile = _profile(files / folder.PROFILE)
            self.golden = golden.read(files / golden.NAME, self.columns)
            model = files / folder.MODEL
            content = model if public_key else model.read_bytes()  # a verified copy is private
            self._runtime = Runtime(content, self.manifest.interface, threads=threads, provider=provider)
        golden.replay(self._runtime, self.golden)

    def predict(self, raw: Raw) -> Answers:
        """Answers to N raw rows of `columns` by the raw input contract, by answer name; N may be 0."""
        return self._runtime(raw)

    def predict_in_parts(self, raw: Raw) -> Answers:
        """The same answers for any number of rows, computed at most `ROWS_AT_ONCE` at a time."""
        rows = len(next(iter(raw.values()), ()))
        count = max(1, -(-rows // ROWS_AT_ONCE))
        ends = np.linspace(0, rows, count + 1).astype(int)  # even, since a single row is computed otherwise
        parts = [
            self.predict({name: values[first:last] for name, values in raw.items()}) for first, last in pairwise(ends)
        ]
        return joined(parts)


def _profile(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BundleError(
            "A bundle's profile.json is JSON", observed=f"{path}: {error}", remedy="export the bundle again"
        ) from error
    return found
