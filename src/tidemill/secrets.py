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

_NAME = r"(?:password|passwd|pwd|token|secret|signature|credential|sig|(?:api|access)_?key(?:_?id)?)"
_IN_URL = re.compile(r"(://[^\s:/@]*:)\S+@")
_ASSIGNED = re.compile(rf"(\b[\w.-]*{_NAME}['\"]?\s*[=:]\s*['\"]?)(?!null\b)[^\s&,'\"]+", re.IGNORECASE)
_SECRET = re.compile(rf".*{_NAME}", re.IGNORECASE)


def mask(text: str) -> str:
    """`text` without the password of any URL in it, and without what is assigned to a secret's name."""
    return _ASSIGNED.sub(r"\1***", _IN_URL.sub(r"\1***@", text))


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
