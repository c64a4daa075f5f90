"""Arrow streams, and the readers that decode them."""

import io
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from tidemill.data.schema import Column, Role, Schema
from tidemill.serve.wire import arrow
from tidemill.serve.wire.reader import Reader
from tidemill.serve.wire.refusals import Limits
from tidemill.serve.wire.request import Rows
from tidemill.settings import Kind

READER = Reader(
    Schema(
        columns=(
            Column(name="n", kind=Kind.NUMERIC, missing_allowed=False),
            Column(name="c", kind=Kind.CATEGORICAL, missing_marks=("?",)),
            Column(name="b", kind=Kind.BOOLEAN),
            Column(name="t", kind=Kind.TIMESTAMP),
            Column(name="m", kind=Kind.NUMERIC),
            Column(name="k", kind=Kind.CATEGORICAL, role=Role.KEY),
            Column(name="when", kind=Kind.TIMESTAMP, role=Role.TIME),
            Column(name="y", kind=Kind.CATEGORICAL, role=Role.TARGET),
        )
    )
)
LIMITS = Limits(rows=100, bytes=20_000)


def stream(columns: Any, **options: Any) -> bytes:
    """As pyarrow's clients write it."""
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    target = io.BytesIO()
    with pa.ipc.new_stream(target, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=7)
    return target.getvalue()


def decode(columns: Any, reader: Reader = READER, limits: Limits = LIMITS) -> Rows:
    return arrow.decode(columns if isinstance(columns, bytes) else stream(columns), reader, limits)


def others(rows: Any) -> Any:
    """What is recorded of a request's rows besides the model's inputs."""
    recorded = msgspec.msgpack.decode(rows.inputs)
    return {name: values for name, values in recorded.items() if name not in rows.raw}


def one(name: str, array: Any) -> np.ndarray:
    """A column as the model gets it, next to a valid `n`."""
    columns = {"n": pa.array([1.0] * len(array))} | {name: array}
    return decode(columns).raw[name]
