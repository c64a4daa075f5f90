"""Write docs/reference/ from settings, models, serving's arguments, the policy, the commands' help and SECURITY.md.

python scripts/reference.py          before the site is built; the pages are not kept in Git
"""

import argparse
import ast
import dataclasses
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import yaml

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "reference"
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from map import lines as map_of_folders  # noqa: E402

from tidemill.cli import _parser  # noqa: E402
from tidemill.composition import Rule, choices, component  # noqa: E402
from tidemill.serve.arguments import Arguments  # noqa: E402
from tidemill.settings import Settings  # noqa: E402

TABLE = "| key | value | type and rule | meaning |\n|---|---|---|---|\n"


def settings() -> str:
    """Every key of a run, with the value that `conf/` gives it."""
    parts = [
        "# Settings of a run",
        "The values stand in `conf/`, one YAML file for each choice; types and rules in `src/tidemill/settings/`. "
        "`python train.py +experiment=table data.path=FILE data.target=COLUMN --cfg job` prints all of them, composed.",
    ]
    hints = get_type_hints(Settings)
    for name, kind in hints.items():
        if name == "model" or not dataclasses.is_dataclass(kind):
            continue
        files = sorted((ROOT / "conf" / name).glob("*.yaml"))
        file = next((one for one in files if one.stem in ("default", "table", "local", "wandb")), files[0])
        parts += [f"## `{name}`", f"From `conf/{name}/{file.name}`.", _table(kind, f"{name}.", file)]
    return "\n\n".join(parts)


def models() -> str:
    """Every model with its own settings."""
    parts = ["# Models", "`model=NAME` chooses one; its settings are `model.KEY=VALUE`."]
    for name in choices("tidemill.models", "build"):
        module = component("tidemill.models", name, having="build", key="model.name")
        first = _paragraph(inspect.getdoc(module) or "")
        parts += [f"## `{name}`", first, _table(module.Settings, "model.", ROOT / "conf" / "model" / f"{name}.yaml")]
    return "\n\n".join(parts)


def serving() -> str:
    """The arguments of `tidemill serve`, and of `args` in serving/config.yaml."""
    parts = [
        "# Settings of serving",
        "Each is given behind `tidemill serve` as `KEY=VALUE`, or under `args` in `serving/config.yaml`.",
    ]
    whole = Arguments(registry="", model="")
    groups = {field.name: getattr(whole, field.name) for field in dataclasses.fields(Arguments)}
    nested = {name: default for name, default in groups.items() if dataclasses.is_dataclass(default)}
    plain = {
        name: "" if name in ("registry", "model") else _shown(default)
        for name, default in groups.items()
        if name not in nested
    }
    parts += [_defaults(plain), _words(Arguments)]
    for name, default in nested.items():
        values = {f"{name}.{field.name}": _shown(getattr(default, field.name)) for field in dataclasses.fields(default)}
        parts += [f"## `{name}`", _defaults(values), _words(type(default))]
    return "\n\n".join(parts)


def _defaults(values: dict[str, str]) -> str:
    return "| key | default |\n|---|---|\n" + "\n".join(f"| `{key}` | {value} |" for key, value in values.items())


def _words(kind: type) -> str:
    return f"```text\n{inspect.getdoc(kind)}\n```"


def policy() -> str:
    """The steward's policy file, whole."""
    text = (ROOT / "src" / "tidemill" / "steward" / "policy.yaml").read_text(encoding="utf-8")
    return f"# The steward's policy\n\nA policy of your own has only the keys that differ.\n\n```yaml\n{text}```"


def commands() -> str:
    """What each command prints for --help."""
    os.environ["COLUMNS"] = "100"
    words = [sys.executable, "train.py", "--help"]
    help_ = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    parts = ["# Commands", f"## `python train.py`\n\n```text\n{help_.strip()}\n```"]
    parts += [f"## `{parser.prog}`\n\n```text\n{parser.format_help().strip()}\n```" for parser in _parsers(_parser())]
    return "\n\n".join(parts)


def security() -> str:
    """SECURITY.md as a page of the site."""
    text = (
        (ROOT / "SECURITY.md").read_text(encoding="utf-8").replace("# Security\n", "# What is defended, and how\n", 1)
    )
    return re.sub(r"\[([^\]]+)\]\((?!https?:|#)([^)#]+)[^)]*\)", r"`\2`", text)


def map_() -> str:
    """All packages, rooms in rooms too."""
    return "# Map\n\n```text\n" + "\n".join(map_of_folders(depth=9)) + "\n```"


PAGES = {
    "map": map_,
    "settings": settings,
    "models": models,
    "serving": serving,
    "policy": policy,
    "commands": commands,
    "security": security,
}


def _table(kind: type, prefix: str, file: Path) -> str:
    text = file.read_text(encoding="utf-8")
    return TABLE + "\n".join(_rows(kind, prefix, yaml.safe_load(text) or {}, _comments(text)))


def _rows(kind: type, prefix: str, values: dict[str, Any], comments: dict[str, str]) -> Iterator[str]:
    said = _docstrings(kind)
    for name, hint in get_type_hints(kind, include_extras=True).items():
        value = values.get(name) if isinstance(values, dict) else None
        if dataclasses.is_dataclass(hint):
            yield from _rows(hint, f"{prefix}{name}.", value or {}, comments)  # type: ignore[arg-type]
            continue
        meaning = said.get(name) or comments.get(name, "")
        yield f"| `{prefix}{name}` | {_shown(value)} | {_cell(_type(hint))} | {_cell(meaning)} |"


def _type(hint: Any) -> str:
    """A type and its rules in words."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        rules = [rule.text for rule in arguments[1:] if isinstance(rule, Rule)]
        return ", ".join([_type(arguments[0]), *rules])
    if origin in (Union, UnionType):
        return " or ".join("null" if argument is NoneType else _type(argument) for argument in arguments)
    if origin is list:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"mapping to {_type(arguments[1])}"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return "one of " + ", ".join(str(member.value) for member in hint)
    if dataclasses.is_dataclass(hint):
        return "a group of " + ", ".join(field.name for field in dataclasses.fields(hint))
    return {int: "whole number", float: "number", str: "text", bool: "true or false"}.get(hint, "anything")


def _docstrings(kind: type) -> dict[str, str]:
    """Field → the string below it."""
    try:
        (body,) = ast.parse(inspect.cleandoc(inspect.getsource(kind))).body
    except (OSError, TypeError, SyntaxError):
        return {}
    found: dict[str, str] = {}
    assert isinstance(body, ast.ClassDef)
    for before, after in zip(body.body, body.body[1:], strict=False):
        text = after.value if isinstance(after, ast.Expr) else None
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name) and isinstance(text, ast.Constant):
            found[before.target.id] = " ".join(str(text.value).split())
    return found


def _comments(text: str) -> dict[str, str]:
    """Key → the comment on its line of a YAML file."""
    lines = (re.match(r"\s*([\w]+):.*?\s#\s(.*)", line) for line in text.splitlines())
    return {found[1]: found[2] for found in lines if found}


def _paragraph(text: str) -> str:
    return text.split("\n\n")[0]


def _shown(value: Any) -> str:
    if isinstance(value, Enum):
        value = value.value
    text = {None: "null", True: "true", False: "false"}.get(value) if value is None or isinstance(value, bool) else None
    return _cell(f"`{text or value}`" if value != "" else "")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield inner
                yield from _parsers(inner)


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        note = "<!-- written by scripts/reference.py: do not edit -->\n\n"
        (FOLDER / f"{name}.md").write_text(note + page() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
