"""Data settings for tests: the values of conf/data/table.yaml, with changes."""

from pathlib import Path
from typing import Any

import yaml

from tidemill.composition import build
from tidemill.settings import DataSettings

TABLE = Path(__file__).parents[3] / "conf" / "data" / "table.yaml"


def settings_for(path: object = None, *, quality: dict[str, Any] | None = None, **changes: Any) -> DataSettings:
    values = yaml.safe_load(TABLE.read_text())
    values["quality"] |= quality or {}
    return build(DataSettings, {**values, "path": None if path is None else str(path), **changes}, "data")
