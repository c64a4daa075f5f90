"""The structure itself: the map tells the truth, files stay rooms, names mean something, imports point one way."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = sorted((ROOT / "tests").rglob("*.py"))
FOLDERS = ("src", "scripts", "examples")
SOURCES = sorted([*(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")), ROOT / "train.py"])


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_map_in_the_readme_is_that_of_the_folders() -> None:
    result = run(sys.executable, "scripts/map.py", "--check")
    assert result.returncode == 0, result.stderr


def test_every_package_says_what_it_is_for() -> None:
    """The map is made of these sentences."""
    packages = sorted((ROOT / "src").rglob("__init__.py"))
    assert [path for path in packages if not path.read_text(encoding="utf-8").startswith('"""')] == []
    folders = {path.parent for path in SOURCES if (ROOT / "src") in path.parents}
    assert sorted(folders - {path.parent for path in packages}) == []


def test_imports_point_one_way() -> None:
    result = run(str(Path(sys.executable).parent / "lint-imports"))
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_under_300_lines_and_say_what_they_are(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 300
    assert text.startswith('"""'), "a module starts with what it is for"


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_stay_under_300_lines_too(path: Path) -> None:
    assert path.read_text(encoding="utf-8").count("\n") <= 300


def test_no_two_files_of_tests_have_one_name() -> None:
    """Their folders are no packages: of two modules with one name, Python would import the first for both."""
    names = Counter(path.name for path in TESTS)
    assert [name for name, count in names.items() if count > 1 and name != "conftest.py"] == []


def test_no_room_is_a_bucket() -> None:
    buckets = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}
    assert [path for path in SOURCES if buckets & {path.stem, path.parent.name}] == []


def test_train_py_is_a_table_of_contents() -> None:
    assert (ROOT / "train.py").read_text(encoding="utf-8").count("\n") < 40


def test_serving_imports_nothing_that_trains() -> None:
    """What import-linter reads from the text, seen to hold when it runs."""
    heavy = "torch lightning hydra wandb sklearn lightgbm spox plotly"
    code = (
        "import pkgutil, importlib, sys, tidemill.serve, tidemill.cli\n"
        "for module in pkgutil.walk_packages(tidemill.serve.__path__, 'tidemill.serve.'):\n"
        "    importlib.import_module(module.name)\n"
        f"found = [name for name in {heavy.split()} if name in sys.modules]\n"
        "assert not found, found"
    )
    result = run(sys.executable, "-c", code)
    assert result.returncode == 0, result.stderr
