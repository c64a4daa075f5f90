"""`data.options`: what one source alone understands, by the dataclass `Options` of its module."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tidemill.composition import build, component

KEY = "data.options"


def check(source: str, options: Mapping[str, Any]) -> None:
    """
    Raises:
        SettingsError: there is no such source; every option that breaks its rule, by full key.
    """
    kind = _kind(source, options)
    if kind is not None:
        build(kind, options, KEY)


def _kind(source: str, options: Mapping[str, Any]) -> type | None:
    """Where a source reads a base of its own, the options of that one are taken as well; None: a module of the user's
    that does not say which options it has."""
    module = component("tidemill.data.sources", source, having="read", key="data.source")
    own: type | None = getattr(module, "Options", None)
    base = options.get("base")
    if own is None or "base" not in own.__annotations__ or not isinstance(base, str) or base in ("", source):
        return own
    under = _kind(base, {})
    return None if under is None else dataclasses.make_dataclass("Options", (), bases=(own, under), kw_only=True)
