"""Looks for secrets in the tree, and for known vulnerabilities in the packages that are pinned. CI runs both.

    python scripts/scan.py secrets        every file that git has: exit status 1 where one seems to hold a secret
    python scripts/scan.py packages       constraints.txt, by pip-audit in a place of its own: 1 where one is vulnerable

What is known of packages comes from the package index. Where it cannot be asked, or knows nothing of a version, that is
said and nothing fails: an index out of reach is no vulnerability.
"""

import json
import math
import re
import subprocess
import sys
import tempfile
import venv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
AUDIT = "pip-audit==2.10.1"
PATIENCE = 600.0  # seconds
_NAME = r"(?:password|passwd|passphrase|token|secret|(?:api|access|account|private)[_-]?key)"
FORMS = {
    "a private key": re.compile(r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----"),
    "a key of Tidemill's": re.compile(r"\btm_[0-9a-z]{4,32}_[0-9a-f]{64}\b"),
    "a token of a known form": re.compile(
        r"\b(?:gh[opsur]_[A-Za-z0-9]{30,}|github_pat_\w{30,}|glpat-[\w-]{20,}|xox[abprs]-[\w-]{20,}|(?:AKIA|ASIA)[A-Z0-9]{16})\b"
    ),
    "a webhook's address": re.compile(r"hooks\.slack\.com/services/T[A-Z0-9]{8,}/B[A-Z0-9]{8,}/\w{20,}"),
    "a password in a URL": re.compile(r"://[^\s:/@'\"{}]+:(?P<value>[^\s@'\"{}*$]{8,})@"),
    "a value of a secret's name": re.compile(
        rf"{_NAME}['\"]?\s*[=:]\s*['\"](?P<value>[\w+/=-]{{20,}})['\"]", re.IGNORECASE
    ),
}
"""What it looks like. value: of these forms only what chance could have made counts."""
_BITS = 3.5
"""Of entropy for each character: words have less, what chance has made has more."""


def findings(texts: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Place and kind of what looks like a secret, never the secret.

    Args:
        texts: of files, by name.
    """
    for name, text in texts:
        for number, line in enumerate(text.splitlines(), 1):
            for kind, form in FORMS.items():
                for found in form.finditer(line):
                    value = found.groupdict().get("value")
                    if value is None or _entropy(value) >= _BITS:
                        yield f"{name}:{number}: {kind}"


def _entropy(text: str) -> float:
    """Bits for each character."""
    counts = Counter(text).values()
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts)


def tree(root: Path) -> Iterator[tuple[str, str]]:
    """Every file that git has and that is text."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        path = root / name
        if path.is_file() and b"\0" not in (content := path.read_bytes()):
            yield name, content.decode(errors="replace")


def secrets() -> int:
    found = list(findings(tree(ROOT)))
    for line in found[:50]:
        print(line)
    print(f"{len(found)} secrets in the tree" if found else "No secrets in the tree")
    return int(bool(found))


def packages(pinned: Path) -> int:
    with tempfile.TemporaryDirectory(prefix="audit-") as folder:
        place = Path(folder)
        try:
            venv.create(place, with_pip=True)
            _run([str(place / "bin/python"), "-m", "pip", "install", "--quiet", "--no-input", AUDIT])
            options = ["--requirement", str(pinned), "--no-deps", "--disable-pip", "--format", "json"]
            said = _run([str(place / "bin/pip-audit"), *options, "--progress-spinner", "off"], good=(0, 1))
            outcome = json.loads(said)["dependencies"]
        except (OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
            print(f"Vulnerabilities were not looked for: {type(error).__name__}: {str(error)[:300]}")
            return 0
    return told(outcome)


def told(outcome: Sequence[dict[str, object]]) -> int:
    """Say what pip-audit found: 1 where a package is vulnerable."""
    known = [
        f"{one['name']} {one['version']}: {entry['id']}, mended in {', '.join(entry['fix_versions']) or 'none yet'}"
        for one in outcome
        for entry in one.get("vulns", ())  # type: ignore[attr-defined]
    ]
    skipped = sum("skip_reason" in one for one in outcome)
    for line in known:
        print(line)
    print(
        f"{len(known)} known vulnerabilities in {len(outcome) - skipped} packages; nothing is known of {skipped} others"
    )
    return int(bool(known))


def _run(command: Sequence[str], good: Sequence[int] = (0,)) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode not in good:
        raise subprocess.SubprocessError(done.stderr.strip().rpartition("\n")[2][:300])
    return done.stdout


if __name__ == "__main__":
    if sys.argv[1:] == ["secrets"]:
        sys.exit(secrets())
    if sys.argv[1:] == ["packages"]:
        sys.exit(packages(ROOT / "constraints.txt"))
    sys.exit(__doc__)
