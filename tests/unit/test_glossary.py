"""docs/glossary.md and the code use the same words, each with one meaning or with those that are listed."""

import ast
import re
from collections import defaultdict
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "tidemill"
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
_RECORDS, _TITLE = "## Records with more than seven fields", "## Class names with more than one meaning"


def rows(text: str) -> list[list[str]]:
    """Of all tables, without their heads."""
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    return [row for row in cells if row[0] not in ("word", "class", "record") and set(row[0]) != {"-"}]


WORDS = rows(GLOSSARY.partition(_RECORDS)[0])
RECORDS = rows(GLOSSARY.partition(_RECORDS)[2].partition(_TITLE)[0])
CLASSES = rows(GLOSSARY.partition(_TITLE)[2])


def defined() -> dict[str, set[str]]:
    """Modules by the public classes that they define."""
    found = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].add(path.relative_to(PACKAGE).as_posix())
    return found


def test_a_class_name_with_two_definitions_is_listed_with_each_meaning() -> None:
    listed = [(name, module) for name, module, meaning in CLASSES if meaning]
    for name, modules in defined().items():
        if len(modules) > 1:
            for module in sorted(modules):
                meanings = [place for given, place in listed if given == name and fnmatchcase(module, place)]
                assert len(meanings) == 1, f"{name} of {module}: rename it, or give its meaning in docs/glossary.md"


def test_what_is_listed_is_there_and_has_two_meanings() -> None:
    found = defined()
    for name, module, _ in CLASSES:
        assert len(found[name]) > 1, f"{name} has one meaning only"
        assert any(fnmatchcase(place, module) for place in found[name]), f"there is no {name} in {module}"
    assert len({(name, module) for name, module, _ in CLASSES}) == len(CLASSES)


def test_every_word_has_one_meaning_and_is_used_in_the_code() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    words = [word for word, meaning in WORDS if meaning]
    assert len(words) == len(set(words)) == len(WORDS) > 50
    for word in words:
        stem = re.escape(word).replace(r"\ ", r"[\s_-]+")
        plural = rf"(?:{stem}(?:s|es)?|{re.escape(word[:-1])}ies)" if word.endswith("y") else rf"{stem}(?:s|es)?"
        assert re.search(rf"(?<![A-Za-z]){plural}(?![a-z])", code, re.IGNORECASE), f"{word} is not used in src/"


MOST = 7


def parameters(node: ast.ClassDef) -> int:
    """How many values a class is made of: fields of a dataclass or a struct, or parameters of `__init__`."""
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            return len(part.args.args) + len(part.args.kwonlyargs) - 1
    made = [ast.unparse(one) for one in (*node.decorator_list, *node.bases)]
    if not any(word in one for one in made for word in ("dataclass", "Struct")):
        return 0
    fields = [part for part in node.body if isinstance(part, ast.AnnAssign) and "ClassVar" not in ast.unparse(part)]
    return sum(part.value is None or "init=False" not in ast.unparse(part.value) for part in fields)


def test_a_constructor_takes_seven_values_at_most_but_for_settings_and_listed_records() -> None:
    listed, found = {(name, module) for name, module, _ in RECORDS}, set()
    for path in PACKAGE.rglob("*.py"):
        module = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and parameters(node) > MOST:
                settings = node.name.endswith(("Settings", "Options", "Policy", "Arguments")) or module.startswith(
                    "settings/"
                )
                assert settings or (node.name, module) in listed, f"{node.name} of {module} takes {parameters(node)}"
                found |= {(node.name, module)}
    assert listed <= found, "these take seven at most"
