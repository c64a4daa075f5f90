"""JSON Lines to rows. Types are guessed anew for each chunk: training's rules read 3, 3.0 and "3" alike."""

import io
from collections.abc import Sequence

import numpy as np
import polars as pl

from tidemill.data.sources._json import fault
from tidemill.data.typed import REASON

ROW = "row\0"
"""The column that carries a row's number while it is read; no file has a column of this name."""

NONE_BROKEN = pl.DataFrame(schema={ROW: pl.Int64, REASON: pl.String})


def parse(lines: Sequence[bytes], first: int) -> tuple[pl.DataFrame, np.ndarray, pl.DataFrame]:
    """Records, their numbers (the first line's is `first`), and the lines that are none with the reason."""
    numbers = np.arange(first, first + len(lines))
    try:
        table = _table(lines)
        if table.height == len(lines):
            return table, numbers, NONE_BROKEN
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        pass  # Polars does not say which line it is
    reasons = [_no_record(line) for line in lines]
    good = [line for line, reason in zip(lines, reasons, strict=True) if reason is None]
    is_good = np.array([reason is None for reason in reasons], dtype=bool)
    table = _table(good)
    assert table.height == len(good)
    said = [reason for reason in reasons if reason is not None]
    broken = pl.DataFrame({ROW: numbers[~is_good], REASON: said}, schema=NONE_BROKEN.schema)
    return table, numbers[is_good], broken


def _table(lines: Sequence[bytes]) -> pl.DataFrame:
    return pl.read_ndjson(io.BytesIO(b"\n".join(lines)), infer_schema_length=None) if lines else pl.DataFrame()


def _no_record(line: bytes) -> str | None:
    reason = fault(line)
    shown = repr(line.strip()[:60].decode(errors="replace"))
    if reason is None:
        return None
    return f"not a JSON object: {shown}" if reason.startswith("is JSON") else f"not JSON ({reason}): {shown}"
