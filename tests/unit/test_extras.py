"""Messages that name an extra name one there is, with the line that installs the tested versions."""

import ast
import re
import tomllib
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


def test_a_command_without_its_packages_names_the_extra(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def absent(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'plotly.graph_objects'", name="plotly.graph_objects")

    monkeypatch.setattr(registry, "_list", absent)
    assert cli.main(["registry", "list"]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "extra 'train'" in told and "-c constraints.txt -e '.[train]'" in told
    assert extras.missing(ModuleNotFoundError("no", name="own_loss")) is None
