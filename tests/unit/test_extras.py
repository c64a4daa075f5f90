"""Messages that name an extra name one there is, with the line that installs the tested versions."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tidemill import cli, extras
from tidemill.commands import registry

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def named() -> set[str]:
    """Every extra that a call of `install` in the code names."""
    found = set()
    for file in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "install":
                found |= {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
    return found


def imported() -> dict[str, str]:
    """Every package outside of Python's own that the code imports, at once or where it is used, with a file that does.

    One that is tried, and done without where it is absent, is left out.
    """
    found = {}
    for file in (ROOT / "src").rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        tried = {
            id(inside)
            for node in ast.walk(tree)
            if isinstance(node, ast.Try) and any("ImportError" in ast.dump(one) for one in node.handlers)
            for statement in node.body
            for inside in ast.walk(statement)
        }
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            roots = {name.partition(".")[0] for name in names} - {*sys.stdlib_module_names, "tidemill"}
            found |= dict.fromkeys(roots if id(node) not in tried else (), str(file.relative_to(ROOT)))
    return found


def declared(requirements: Iterable[str]) -> set[str]:
    """Names of distributions as PyPI compares them."""
    return {_normal(re.split(r"[\[<>=!;~ ]", one)[0]) for one in requirements}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.slow
def test_what_the_code_imports_is_declared_and_has_a_tested_version() -> None:
    extra = PROJECT["optional-dependencies"]
    needed = declared(PROJECT["dependencies"])
    optional = {name: declared(extra[name]) for name in extra if name != "dev"}
    brings = packages_distributions()
    constrained = declared(line for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    for module, file in imported().items():
        packages = {_normal(name) for name in brings[module]}
        there = packages & needed.union(*optional.values())
        assert there, f"{file} imports {module}, which no dependency and no extra of pyproject.toml brings"
        assert there & constrained, f"constraints.txt names no version of {' or '.join(there)}"
        if not packages & needed:
            assert extras.MODULES.get(module) is not None, f"{module} comes with an extra: name it in extras.MODULES"
            assert packages & optional[extras.MODULES[module]]


def test_every_extra_that_is_named_exists() -> None:
    assert {"sql", "demo", "signing", "bulk", "gpu"} <= named()
    assert named() | {*extras.MODULES.values()} <= {*PROJECT["optional-dependencies"]}


def test_no_other_line_installs() -> None:
    lines = [
        f"{file.relative_to(ROOT)}: {line.strip()}"
        for file in (ROOT / "src").rglob("*.py")
        for line in file.read_text().splitlines()
        if re.search(r"pip install(?! -c)", line) and file.name != "extras.py"
    ]
    assert not lines, "write extras.install(EXTRA): without constraints pip takes versions that nobody has tried"


def test_the_line_names_the_constraints() -> None:
    line = re.search(r"python (-m pip install .*?'\.\[sql\]')", extras.install("sql"))
    assert line is not None
    words = [word.strip("'") for word in line[1].split()]
    assert words[3:] == ["-c", "constraints.txt", "-e", ".[sql]"] and (ROOT / "constraints.txt").is_file()


def test_a_command_without_its_packages_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'plotly.graph_objects'", name="plotly.graph_objects")

    monkeypatch.setattr(registry, "_list", absent)
    assert cli.main(["registry", "list"]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "extra 'train'" in told and "-c constraints.txt -e '.[train]'" in told
    assert extras.missing(ModuleNotFoundError("no", name="own_loss")) is None
