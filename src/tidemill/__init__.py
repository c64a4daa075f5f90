"""Tidemill: from raw records to a deep-learning model that stays right in production."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tidemill.python import Model, Trained, load, train

__version__ = "0.1.0"
__all__ = ["Model", "Trained", "__version__", "load", "train"]


def __getattr__(name: str) -> Any:
    """What `tidemill.python` offers, imported when it is first used: serving imports this package too."""
    if name in __all__:
        return getattr(importlib.import_module("tidemill.python"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
