"""What people type every day keeps working: the Makefile's help, and hooks that check what CI checks."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = re.findall(r"^([a-z][a-z-]*):(?!=)", MAKEFILE, flags=re.MULTILINE)


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize("words", [(), ("help",)], ids=["make", "make help"])
def test_make_lists_every_target_with_what_it_does(words: tuple[str, ...]) -> None:
    said = subprocess.run(["make", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = dict(re.findall(r"^  make ([a-z-]+) +(\w.+)$", said, flags=re.MULTILINE))
    assert list(listed) == TARGETS
    assert {"check", "test", "quick", "docs", "bench-quick", "map", "format"} <= listed.keys()


def test_no_target_is_taken_for_a_file() -> None:
    """`docs` is a folder, too: without .PHONY, make would say that it is up to date."""
    (line,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, flags=re.MULTILINE)
    assert line.split() == TARGETS


def test_hooks_check_what_ci_checks_with_the_same_tools() -> None:
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert [repository["repo"] for repository in repositories] == ["local"], "a commit needs no network"
    hooks = [hook["entry"].removesuffix(" --force-exclude") for hook in repositories[0]["hooks"]]
    checks = (ROOT / "scripts" / "check.sh").read_text(encoding="utf-8").split("\n\n")[1].splitlines()
    plain = [line.replace('"$bin/', ".venv/bin/").replace('"', "") for line in checks]
    assert hooks == [line.replace(" --check", "").removesuffix(" .") for line in plain]
    for tool in {hook.split()[0].rpartition("/")[2] for hook in hooks}:
        assert (Path(sys.executable).parent / tool).exists(), tool


@pytest.mark.parametrize(
    "form", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda form: form.stem
)
def test_issue_forms_are_whole(form: Path) -> None:
    content = yaml.safe_load(form.read_text(encoding="utf-8"))
    if form.stem == "config":
        assert content == {"blank_issues_enabled": True}
        return
    assert content.keys() == {"name", "description", "labels", "body"}
    questions = [part for part in content["body"] if part["type"] != "markdown"]
    assert len({part["id"] for part in questions}) == len(questions) >= 2
    assert all(part["attributes"]["label"].endswith("?") for part in questions)
