"""Passwords and tokens stay out of everything that a run writes: report, manifest, tracker, Hydra's notes, console.

They belong into the environment (PGPASSWORD, or `data.connection=${oc.env:NAME}`). Where one is written into a
URL or a setting all the same, only "***" of it is kept.
"""

import contextlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_NAME = (
    r"(?:password|passwd|pwd|passphrase|token|secret|signature|credential|sig|authorization|"
    r"(?:api|access|account|private|secret|shared[_-]?access|storage|encryption|signing|master)[_-]?key(?:[_-]?id)?)"
)
_IN_URL = re.compile(r"(://[^\s:/@]*:)\S+@")
_AS_USER = re.compile(r"(://)[\w.~+=-]{20,}(?=[:@])(?=\S*@)")
"""A token in a user's place. Names of users are shorter."""
_HOOK = re.compile(
    r"(https?://(?:hooks\.slack\.com/(?:services|workflows|triggers)|(?:\w+\.)?discord(?:app)?\.com/api/webhooks|"
    r"[\w.-]+\.webhook\.office\.com/\w+)/)[^\s'\"]+"
)
"""Addresses that are secrets themselves: who knows one can write there."""
_BEARER = re.compile(r"\b((?:bearer|basic)\s+)(?!\*{3})[\w.~+/=-]{8,}", re.IGNORECASE)
_KEY = re.compile(
    r"\b(tm_[0-9a-z]{4,32}_)[0-9a-f]{16,}|\b(gh[opsur]_|github_pat_|glpat-|xox[abprs]-|AKIA|ASIA)[\w-]{10,}"
)
"""Our own API keys, and those that say by how they begin what they are good for."""
_IN_LINE = re.compile(rf"^(\s*(?:-\s+)?[\w.-]*{_NAME}\s*:\s+)(?!null\s*$|['\"])\S.*$", re.IGNORECASE | re.MULTILINE)
"""A line of YAML, of which all that follows is the value, blanks too."""
_ASSIGNED = re.compile(
    rf"""(\b[\w.-]*{_NAME}['"]?\s*[=:]\s*)(?!null\b)(?:(?P<quote>['"])(?:(?!(?P=quote))[^\\\n]|\\.)+(?P=quote)"""
    r"""|(?P<open>['"]?)[^\s&,'"]+)""",
    re.IGNORECASE,
)
_SECRET = re.compile(rf".*{_NAME}", re.IGNORECASE)


def mask(text: str) -> str:
    """`text` without the password of any URL in it, and without what is assigned to a secret's name."""
    text = _AS_USER.sub(r"\1***", _IN_URL.sub(r"\1***@", text))
    text = _BEARER.sub(r"\1***", _HOOK.sub(r"\1***", text))
    text = _KEY.sub(lambda found: f"{found[1] or found[2]}***", text)
    return _ASSIGNED.sub(_masked, _IN_LINE.sub(r"\1***", text))


def _masked(found: re.Match[str]) -> str:
    quote = found["quote"]
    return f"{found[1]}{quote}***{quote}" if quote else f"{found[1]}{found['open']}***"


def hidden(value: Any) -> Any:
    """Nested settings, masked: every text, and whole values under a secret's name."""
    if isinstance(value, str) and type(value) is str:  # an Enum's member stays one
        return mask(value)
    if isinstance(value, Mapping):
        return {
            name: "***" if isinstance(item, str) and item and _SECRET.fullmatch(str(name)) else hidden(item)
            for name, item in value.items()
        }
    return [hidden(item) for item in value] if isinstance(value, list | tuple) else value


def clear(folder: Path) -> None:
    """Mask what Hydra has noted about a run in its `folder`, and the arguments that W&B will note."""
    for file in (*(folder / ".hydra").glob("*.yaml"), folder.parent / "multirun.yaml"):
        with contextlib.suppress(FileNotFoundError):
            before = file.read_text(encoding="utf-8")
            after = mask(before)
            if after != before:
                file.write_text(after, encoding="utf-8")
    sys.argv[1:] = hidden(sys.argv[1:])
