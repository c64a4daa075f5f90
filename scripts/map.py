"""Write the README's map from the tree: every room and file with the first sentence of its docstring.

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
    "tests": "unit (mirrors src), contracts (one suite a swappable kind), end_to_end",
}


def sentence(file: Path) -> str:
    """The first sentence of a module's docstring."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    first = text.split("\n\n")[0].replace("\n", " ")
    return first.split(". ")[0].rstrip(".")


def lines() -> list[str]:
    found = []
    for name, what in PLACES.items():
        path = ROOT / name
        found.append(f"{name:<28} {what or sentence(path)}")
        if name == "scripts":
            found += [f"  {path.relative_to(ROOT / name)!s:<26} {sentence(path)}" for path in modules(ROOT / name)]
    package = ROOT / "src" / "tidemill"
    found.append(f"{'src/tidemill/':<28} {sentence(package / '__init__.py')}")
    for path in modules(package):
        place = path.relative_to(package)
        depth = 2 * len(place.parts)
        if path.name == "__init__.py":
            found.append(f"{'':{depth - 2}}{place.parent.name + '/':<{30 - depth}} {sentence(path)}")
        else:
            found.append(f"{'':{depth}}{place.name:<{28 - depth}} {sentence(path)}")
    return [line.rstrip() for line in found]


def modules(folder: Path) -> list[Path]:
    """Python files under `folder`: a package's own docstring first, files before rooms."""
    own = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
    head = [folder / "__init__.py"] if (folder / "__init__.py").exists() and folder.name != "tidemill" else []
    rooms = [path for path in sorted(folder.iterdir()) if path.is_dir() and any(path.glob("*.py"))]
    return head + own + [path for room in rooms for path in modules(room)]


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
