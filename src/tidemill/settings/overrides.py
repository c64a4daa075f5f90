"""Words of the command line: turned into what Hydra takes, and written for the messages that show them.

Hydra has no way to write a mapping's key with a dot, a quotation mark or a letter beyond ASCII in it. Columns have such
names, so the key is encoded on the way to Hydra, and `composition.build` decodes it.
"""

import dataclasses
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from tidemill.composition import encoded

_PLAIN = re.compile(r"[A-Za-z_][\w-]*", re.ASCII)
_BARE = re.compile(r"(?=.*[A-Za-z_%])[\w./:%+-]+", re.ASCII)
_WORDS = ("null", "true", "false", "nan", "inf")


def groups(kind: type, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Full keys of the mappings inside `kind` whose own keys are the user's, and how many parts a key has below each.

    1: a column; 2: a column and a setting of it; 0: whatever it likes.
    """
    for name, hint in get_type_hints(kind).items():
        if get_origin(hint) is dict:
            value = get_args(hint)[1]
            deep = dataclasses.is_dataclass(value) or get_origin(value) is dict
            yield prefix + name, 0 if value is Any else 2 if deep else 1
        elif dataclasses.is_dataclass(hint):
            yield from groups(hint, f"{prefix}{name}.")  # type: ignore[arg-type]


def addable(word: str, kind: type) -> str:
    """A word of the command line as Hydra takes it: a key of a column or an option is new to it, and needs "++"."""
    key, equals, value = word.partition("=")
    for group, parts in groups(kind):
        if key == group:
            return f"++{word}"
        if key.startswith(f"{group}."):
            rest = key[len(group) + 1 :]
            name, setting = rest.rsplit(".", 1) if parts == 2 and "." in rest else (rest, "")
            if not equals or parts == 0 or _PLAIN.fullmatch(name):
                return f"++{word}"
            inner = f"{{{setting}: {value}}}" if setting else value
            return f"++{group}={{{encoded(name)}: {inner}}}"
    return word


def override(group: str, column: str, value: str | Sequence[str]) -> str:
    """A word that sets `group` (data.kinds, …) for a column, quoted for a shell: data.kinds.age=numeric."""
    text = _quoted(value) if isinstance(value, str) else "[" + ",".join(map(_quoted, value)) + "]"
    key = f"{group}.{column}={text}"
    return shlex.quote(f"{group}={{{encoded(column)}: {text}}}" if "=" in column else key)


def word(key: str, given: Any) -> str:
    """A word that sets a key to a value of Python's, quoted for a shell: "'data.ignored=[days to sale]'"."""
    return shlex.quote(f"{key}={value(given)}")


def value(given: Any) -> str:
    """A value of Python's as Hydra reads it behind "key="."""
    if given is None or isinstance(given, bool):
        return {None: "null", True: "true", False: "false"}[given]
    if isinstance(given, Mapping):
        return "{" + ",".join(f"{_quoted(str(name))}:{value(item)}" for name, item in given.items()) + "}"
    if isinstance(given, Sequence) and not isinstance(given, str):
        return "[" + ",".join(map(value, given)) + "]"
    return _quoted(str(given)) if not isinstance(given, int | float) else repr(given)


def stem(path: object) -> str:
    """A model's name from the file or folder of its table: "new/people.csv.gz" → "people"."""
    return re.sub(r"[^\w-]+", "-", Path(str(path)).name.split(".")[0]) or "table"


def _quoted(text: str) -> str:
    """As Hydra reads it: a backslash stands for itself, but for one before a quotation mark or ${."""
    if _BARE.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return '"' + text.replace('"', '\\"').replace("${", "\\${") + '"'
