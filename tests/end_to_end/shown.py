"""What the documents show: commands, links, blocks of code, each with the document that it stands in."""

import re
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from chain import ROOT

GENERATED = ROOT / "docs" / "reference"
"""Written before the site is built; Sphinx itself looks through these."""
HELP = ROOT / "conf" / "hydra" / "help" / "tidemill.yaml"
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "serving").glob("*.md")),
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if not {"reference", "_build"} & set(page.parts)),
]
DOCUMENTS = [*PAGES, *sorted(ROOT.glob("scripts/*.sh"))]
_FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block. tags: what follows its language, like "run"."""

    language: str
    tags: tuple[str, ...]
    text: str


def name(document: Path) -> str:
    return str(document.relative_to(ROOT))


def blocks(document: Path) -> list[Block]:
    text = document.read_text(encoding="utf-8")
    return [Block(found[1], tuple(found[2].split()), found[3]) for found in _FENCE.finditer(text)]


def commands(program: str) -> list[tuple[str, tuple[str, ...]]]:
    """(Document, words behind the program's name) of lines of code: of `python train.py`, or of `tidemill`.

    "…" stands for more words, which are left out.
    """
    return _commands(program, _lines)


def mentions(program: str) -> list[tuple[str, tuple[str, ...]]]:
    """The same of what stands between backticks in a sentence: a command, perhaps not a whole one."""
    return _commands(program, _spans)


def _commands(program: str, lines: Callable[[Path], Iterator[str]]) -> list[tuple[str, tuple[str, ...]]]:
    start = r"python train\.py" if program == "train.py" else "tidemill"
    found = []
    for document in (*DOCUMENTS, HELP):
        for line in lines(document):
            line = re.sub(r"^(?:\$ |\w+=\S+ |exec )+", "", line.strip().replace('"$bin/python"', "python"))
            line = line.replace('"$bin/tidemill"', "tidemill")
            if match := re.match(rf"{start}(?:\s+|$)(.*)", line):
                words = [word for word in _split(match[1]) if not {"…", "$@"} & {word, word[-1:]}]
                found.append((name(document), tuple(words)))
    return found


def _split(text: str) -> list[str]:
    """Words up to a comment, or to the gap before an explanation."""
    return shlex.split(re.split(r"\s{3,}", text)[0], comments=True)


def _lines(document: Path) -> Iterator[str]:
    """Lines of code; those that go on are joined."""
    text = re.sub(r" \\\n\s*", " ", document.read_text(encoding="utf-8"))
    if document.suffix != ".md":
        yield from text.splitlines()
        return
    for match in _FENCE.finditer(text):
        if match[1] == "sh":
            yield from match[3].splitlines()
    rest = _FENCE.sub("", text)
    yield from re.findall(r"^ {4}(\S.*)$", rest, flags=re.MULTILINE)


def _spans(document: Path) -> Iterator[str]:
    if document.suffix == ".md":
        yield from re.findall(r"`([^`\n]+)`", _FENCE.sub("", document.read_text(encoding="utf-8")))


def links(document: Path) -> list[str]:
    text = _FENCE.sub("", document.read_text(encoding="utf-8"))
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", text))


def anchors(document: Path) -> set[str]:
    """Names of a page's headings, as MyST and Git hosts make them, and of `(name)=` targets."""
    text = _FENCE.sub("", document.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r"^\((\S+)\)=$", text, flags=re.MULTILINE))


def programs() -> Path:
    return Path(sys.executable).parent
