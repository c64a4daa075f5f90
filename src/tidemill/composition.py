"""From a composed mapping to checked settings, in one pass that reports every broken rule.

`build(Settings, mapping)` walks the dataclass and the mapping together. What it refuses, it refuses
by full key: unknown keys (with the nearest valid one), missing keys, wrong types, values outside an
Enum's choices or outside a `Rule`, and values that do not fit each other.
"""

import dataclasses
import difflib
import hashlib
import importlib
import importlib.util
import math
import pkgutil
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints
from urllib.parse import quote, unquote

from tidemill.errors import SettingsError
from tidemill.secrets import mask

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """What a value must satisfy: `Annotated[float, Rule("greater than 0", lambda v: v > 0)]`."""

    text: str
    holds: Callable[[Any], bool]


@dataclasses.dataclass(frozen=True, slots=True)
class Conflict:
    """A value that keeps its own rule and does not fit the others.

    A dataclass of settings that has a method `conflicts()` yields these; `key` counts from the dataclass.
    """

    key: str
    got: object
    rule: str


@dataclasses.dataclass(frozen=True, slots=True)
class _Problem:
    key: str
    got: str
    rule: str
    nearest: str | None = None
    """The valid key or value that was probably meant."""

    def __str__(self) -> str:
        hint = f"; did you mean {self.nearest}?" if self.nearest else ""
        return f"{self.key} = {self.got}: {self.rule}{hint}"


_LISTED = 20
"""Problems that one message lists."""
_ALL_KEYS = "`python train.py --cfg job` shows all keys and their values"


def build(kind: type[T], mapping: Mapping[str, Any], prefix: str = "", *, shown: str = _ALL_KEYS) -> T:
    """Check `mapping` against the dataclass `kind` and make one.

    Args:
        prefix: full key of `mapping` itself, put before the keys in messages ("training").
        shown: where all keys can be seen.

    Raises:
        SettingsError: one or more rules are broken; the message lists all of them.
    """
    problems: list[_Problem] = []
    value = _dataclass(kind, mapping, prefix, problems)
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems[:_LISTED])
        lines += f"\n  and {len(problems) - _LISTED:,} more" if len(problems) > _LISTED else ""
        raise SettingsError(
            "Every setting must keep its rule",
            observed=mask(lines),
            remedy=f"mend what is named above; {shown}",
        )
    return value


def keys(kind: type, prefix: str = "") -> Iterator[str]:
    """Every full key that `kind` accepts, depth first: "data", "data.path", …"""
    for name, hint in get_type_hints(kind).items():
        yield prefix + name
        if dataclasses.is_dataclass(hint):
            yield from keys(hint, f"{prefix}{name}.")  # type: ignore[arg-type]


_ENCODED = "%%"


def encoded(name: str) -> str:
    """A key as Hydra's command line takes it, whatever is in it; `build` decodes it."""
    return _ENCODED + quote(name, safe="").replace("~", "%7E")


def _decoded(key: object) -> str:
    return unquote(str(key).removeprefix(_ENCODED)) if str(key).startswith(_ENCODED) else str(key)


def nearest_key(key: str, known: list[str]) -> str | None:
    """The known key most like `key`: whole keys are compared first, then last parts."""
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if close:
        return close[0]
    by_leaf = {name.rsplit(".", 1)[-1]: name for name in known}
    leaf = difflib.get_close_matches(key.rsplit(".", 1)[-1], list(by_leaf), n=1, cutoff=0.6)
    return by_leaf[leaf[0]] if leaf else None


def component(package: str, name: str, *, having: str, key: str) -> types.ModuleType:
    """The module of a swappable part: `name` inside `package`, or a dotted module of the user's own.

    Args:
        having: the function that makes a module such a part ("build" for models, "read" for sources).
        key: the setting that named it.

    Raises:
        SettingsError: there is no such module, or it lacks that function; the choices are listed.
    """
    path = name if "." in name else f"{package}.{name}"
    try:
        module = importlib.import_module(path) if name else None
    except ModuleNotFoundError as error:
        if error.name is None or not path.startswith(error.name):
            raise
        module = None
    if module is None or not hasattr(module, having):
        raise SettingsError(
            f"{key} must name a module with a function {having}()",
            observed=repr(name),
            remedy=f"use one of {', '.join(choices(package, having))}, or a module of your own by its dotted name",
        )
    return module


def choices(package: str, having: str) -> list[str]:
    """Names of the modules inside `package` that have the function `having`, found by looking."""
    names = sorted(module.name for module in pkgutil.iter_modules(importlib.import_module(package).__path__))
    return [name for name in names if hasattr(importlib.import_module(f"{package}.{name}"), having)]


def named(spec: str, *, what: str, kind: str) -> Any:
    """Something of the user's own that a setting names: package.module:name, or path/to/file.py:name.

    Args:
        what: it is, at the beginning of a sentence ("An observer"); kind: what name stands for ("Class").

    Raises:
        SettingsError: there is no such module, file or name.
    """
    forms = f"package.module:{kind} or path/to/file.py:{kind}"
    place, separator, name = spec.rpartition(":")
    if not separator or not place or not name.isidentifier():
        raise SettingsError(f"{what} is named as {forms}", observed=repr(spec), remedy="correct the setting")
    try:
        module = _from_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except Exception as error:
        raise SettingsError(
            f"{what}'s module can be imported",
            observed=f"{spec}: {type(error).__name__}: {error}",
            remedy=f"name it as {forms}, where every process can read it",
        ) from error
    if not hasattr(module, name):
        near = difflib.get_close_matches(name, vars(module), n=1)
        raise SettingsError(
            f"{what}'s module has the {kind.lower()} that the setting names",
            observed=f"{place} has no {name}",
            remedy=f"did you mean {near[0]}?" if near else f"correct the {kind.lower()}",
        )
    return getattr(module, name)


def _from_file(path: Path) -> types.ModuleType:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    name = f"tidemill_own_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    found = importlib.util.spec_from_file_location(name, path)
    assert found is not None and found.loader is not None, "a .py file always has a loader"
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # dataclasses and pickle look their module up there
    try:
        found.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _dataclass(kind: type[T], mapping: object, prefix: str, problems: list[_Problem]) -> T:
    dot = f"{prefix}." if prefix else ""
    if not isinstance(mapping, Mapping):
        problems.append(_Problem(prefix, repr(mapping), "must be a group of keys"))
        return None  # type: ignore[return-value]
    hints = get_type_hints(kind, include_extras=True)
    for name in mapping:
        if name not in hints:
            near = difflib.get_close_matches(str(name), list(hints), n=1, cutoff=0.5)
            near_key = dot + near[0] if near else None
            known = f"no such key, there are {', '.join(hints) or 'none'}"
            problems.append(_Problem(f"{dot}{name}", repr(mapping[name]), known, near_key))
    values: dict[str, Any] = {}
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    none = dataclasses.MISSING
    defaulted = {field.name for field in fields if field.default is not none or field.default_factory is not none}
    for name, hint in hints.items():
        if name in mapping:
            values[name] = _value(hint, mapping[name], dot + name, problems)
        elif name not in defaulted:
            problems.append(_Problem(dot + name, "nothing", "must be set"))
    if problems:
        return None  # type: ignore[return-value]
    made = kind(**values)
    conflicts: Callable[[], Iterable[Conflict]] = getattr(made, "conflicts", tuple)
    problems += [_Problem(dot + found.key, repr(found.got), found.rule) for found in conflicts()]
    return made


def _value(hint: Any, value: Any, key: str, problems: list[_Problem]) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin is Annotated:
        return _ruled(arguments, value, key, problems)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        (inner,) = [argument for argument in arguments if argument is not type(None)]
        return _value(inner, value, key, problems)
    if origin in (list, tuple):
        if not isinstance(value, list | tuple):
            problems.append(_Problem(key, repr(value), f"must be a list, like {key}=[a,b]"))
            return None
        return origin(_value(arguments[0], item, f"{key}[{i}]", problems) for i, item in enumerate(value))
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            problems.append(_Problem(key, repr(value), f"must be a mapping, like {key}={{name:value}}"))
            return None
        named = {_decoded(name): item for name, item in value.items()}
        return {name: _value(arguments[1], item, f"{key}.{name}", problems) for name, item in named.items()}
    if dataclasses.is_dataclass(hint):
        return _dataclass(hint, value, key, problems)  # type: ignore[arg-type]
    return _scalar(hint, value, key, problems)


def _ruled(arguments: tuple[Any, ...], value: Any, key: str, problems: list[_Problem]) -> Any:
    """A value with rules of its own; one of another type is told them as well."""
    inner, before = arguments[0], len(problems)
    rules = [rule for rule in arguments[1:] if isinstance(rule, Rule)]
    value = _value(inner, value, key, problems)
    if len(problems) > before:
        if inner in (int, float, str):
            whole = ", ".join([problems[-1].rule, *(rule.text for rule in rules)])
            problems[-1] = dataclasses.replace(problems[-1], rule=whole)
        return value
    for rule in rules:
        if len(problems) == before and not rule.holds(value):
            problems.append(_Problem(key, repr(value), f"must be {rule.text}"))
    return value


def _scalar(hint: type, value: Any, key: str, problems: list[_Problem]) -> Any:
    if issubclass(hint, Enum):
        allowed = [str(member.value) for member in hint]
        if str(value) in allowed:
            return hint(str(value))
        near = difflib.get_close_matches(str(value), allowed, n=1, cutoff=0.5)
        problems.append(_Problem(key, repr(value), f"must be one of {', '.join(allowed)}", near[0] if near else None))
        return None
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is str and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)  # a name like 2013 reads as a number in YAML
    if type(value) is hint and (not isinstance(value, float) or math.isfinite(value)):
        return value
    if hint is Path and isinstance(value, str | Path):
        return Path(value)
    names = {int: "a whole number", float: "a finite number", str: "text", bool: "true or false", Path: "a path"}
    problems.append(_Problem(key, repr(value), f"must be {names.get(hint, hint.__name__)}"))
    return None
