"""Every benchmark still starts, ends and says what it measured; how fast anything is, is not looked at here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from chain import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]

FOLDER = ROOT / "scripts" / "bench"
WORDS = {"above", "at_least", "at_most", "below"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first of them trains the small models that others use, too."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.py")), ids=lambda file: file.stem)
def test_a_quick_run_ends_with_its_figures(file: Path, cache: Path, tmp_path: Path) -> None:
    words = [sys.executable, str(file), "--quick", "--cache", str(cache)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
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
    assert any(found["figures"][name] is not None for name in found["targets"]), "something was measured"
