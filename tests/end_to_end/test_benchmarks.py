"""Every benchmark still starts, ends and says what it measured; how fast anything is, is not looked at here."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from chain import ROOT

pytestmark = pytest.mark.slow

FOLDER = ROOT / "scripts" / "bench"
WORDS = {"above", "at_least", "at_most", "below"}


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """One folder for what benchmarks keep: the first of them trains the small models that others use, too.

    Its path is short, since Ray keeps its sockets in it, and theirs may have 107 bytes.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        yield {**os.environ, "TMPDIR": folder}


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.py")), ids=lambda file: file.stem)
def test_a_quick_run_ends_with_its_figures(file: Path, environment: dict[str, str], tmp_path: Path) -> None:
    words = [sys.executable, str(file), "--quick"]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    *table, last = done.stdout.splitlines()
    assert table, "a table for people comes first"
    found = json.loads(last, parse_constant=pytest.fail)
    assert list(found) == ["bench", "figures", "targets", "met"]
    assert found["bench"] == file.stem and isinstance(found["met"], bool)
    assert found["targets"] and found["targets"].keys() <= found["figures"].keys()
    for name, bounds in found["targets"].items():
        value = found["figures"][name]
        assert value is None or type(value) in (int, float), f"{name}: {value}"
        assert bounds and bounds.keys() <= WORDS and all(type(bound) in (int, float) for bound in bounds.values())
    measured = [value for value in found["figures"].values() if value is not None]
    assert measured, "something was measured"
