"""Write the README's map of folders: every package with the first sentence of its docstring.

python scripts/map.py            rewrites the map in README.md
python scripts/map.py --check    exit status 1 when it is out of date
"""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
START = "<!-- map: `python scripts/map.py` writes it, a test compares it -->\n"
PLACES = {
    "train.py": None,
    "conf": "what a run's settings are: one YAML a choice, by group",
    "serving": "what an operator deploys",
    "docker": "images that train and that serve",
    "scripts": "set-up, tests, benchmarks, chores",
    "docs": "the documents, built as a site by scripts/docs.sh",
    "examples": "a table to try, two notebooks, and an extension of each kind",
    "tests": "unit (mirrors src), contracts (one suite a swappable kind), end_to_end",
}


def sentence(file: Path) -> str:
    """The first sentence of a module's docstring."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    first = text.split("\n\n")[0].replace("\n", " ")
    return first.split(". ")[0].rstrip(".")


def lines(depth: int = 1) -> list[str]:
    """A line for each folder; depth: of packages within packages that are shown."""
    found = [f"{name:<30} {what or sentence(ROOT / name)}" for name, what in PLACES.items()]
    package = ROOT / "src" / "tidemill"
    found.append(f"{'src/tidemill/':<30} {sentence(package / '__init__.py')}")
    for path in sorted(package.rglob("__init__.py")):
        place = path.parent.relative_to(package)
        if 0 < len(place.parts) <= depth:
            name = "  " * len(place.parts) + place.name + "/"
            found.append(f"{name:<30} {sentence(path)}")
    return found


def main() -> None:
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    after = rest.split("\n```\n", 1)[1] if "\n```\n" in rest else ""
    wanted = before + START + "\n```text\n" + "\n".join(lines()) + "\n```\n" + after
    if "--check" in sys.argv:
        sys.exit(None if text == wanted else "The README's map is out of date. Remedy: python scripts/map.py")
    README.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    main()
