"""Columns as they are inferred."""

from typing import Any

import polars as pl
import pytest
from table_settings import settings_for

from tidemill.data import infer
from tidemill.errors import SchemaError


def refusal(frame: pl.DataFrame, **changes: Any) -> str:
    with pytest.raises(SchemaError) as caught:
        infer.infer(frame.lazy(), settings_for(**changes))
    return str(caught.value)
