"""Requests of the Open Inference Protocol: JSON with binary parts, or a gRPC message, to raw columns.

Each input is one raw column by name, of the shape [N] or [N, 1]. Columns that allow missing values may be left out.
"""

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tidemill.data.raw import Raw
from tidemill.data.schema import Column
from tidemill.errors import RequestError, listed
from tidemill.serve.wire.inference import columns as by_column, framing, tensors
from tidemill.serve.wire.inference.framing import Head, Parameters
from tidemill.serve.wire.refusals import Limits, refused, too_large
from tidemill.settings import Kind


@dataclass(frozen=True, slots=True)
class Wanted:
    """An output that the client asked for. binary: as binary data after the JSON; gRPC always does so."""

    name: str
    binary: bool


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A request that fits the model.

    raw: one array of N = `rows` values per column, by the raw input contract; left-out columns are filled.
    others: what was sent for columns that the model does not read, N values each.
    id: the client's own, to be echoed; "" where there is none.
    """

    raw: Raw
    rows: int
    others: dict[str, list[Any]]
    id: str
    parameters: Parameters
    outputs: tuple[Wanted, ...]

    @property
    def timeout(self) -> float | None:
        """Seconds that the client would wait, from the parameter `timeout` (microseconds); None or 0: no limit.

        Raises:
            RequestError: 400, it is no whole number of microseconds.
        """
        value = self.parameters.get("timeout", 0)
        try:
            microseconds = int(value) if type(value) in (int, str) else -1
        except ValueError:
            microseconds = -1
        if not 0 <= microseconds < 2**63:
            rule = "The parameter 'timeout' is a whole number of microseconds"
            raise refused(400, rule, str(value)[:60], "send a number from 1 on, or leave it out")
        return microseconds / 1e6 or None


class _Tensor(NamedTuple):
    """An input before its values are looked at. data: JSON values, typed contents, or binary data."""

    name: str
    datatype: str
    shape: Sequence[int]
    data: list[Any] | memoryview | bytes


class Decoder:
    """Reads requests for one model. Safe to call from several threads.

    Args:
        columns: that the model needs.
        outputs: that it gives, in order; all are sent where a request selects none.
        others: further columns that may be sent.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        outputs: Sequence[str],
        *,
        others: Collection[str] = (),
        limits: Limits | None = None,
    ) -> None:
        self._columns = {column.name: column for column in columns}
        self._numeric = {column.name: column for column in columns if column.kind is Kind.NUMERIC}
        self._outputs = tuple(outputs)
        self._others = frozenset(others) - self._columns.keys()
        self._limits = limits or Limits()
        self._values = (len(self._columns) + len(self._others)) * (2 * self._limits.rows + 32) + 1000
        """Of a request's JSON: an input's rows may be nested, and has a name, a shape and parameters."""

    def http(self, body: bytes, json_length: str | bytes | None = None) -> InferRequest:
        """A request from an HTTP body, any content encoding already undone.

        Args:
            json_length: the header Inference-Header-Content-Length, if sent.

        Raises:
            RequestError: 400 no such request, 413 too large, 422 inputs that do not fit the model.
        """
        if len(body) > self._limits.bytes:
            raise too_large(self._limits, f"{len(body)} bytes")
        head, binary = framing.parted(body, json_length, self._values)
        parts = framing.binary_parts(head, binary)
        given = [
            _Tensor(entry.name, entry.datatype, entry.shape, part if part is not None else framing.json_data(entry))
            for entry, part in zip(head.inputs, parts, strict=True)
        ]
        return self._read(given, head)

    def message(self, message: Any) -> InferRequest:
        """A request from a ModelInferRequest, whichever module made its class.

        Raises:
            RequestError: as `http`.
        """
        size = message.ByteSize()
        if size > self._limits.bytes:
            raise too_large(self._limits, f"{size} bytes")
        head = framing.message_head(message)
        raw = message.raw_input_contents
        if raw and len(raw) != len(message.inputs):
            rule = "raw_input_contents holds one entry per input, or none"
            observed = f"{len(raw)} entries for {len(message.inputs)} inputs"
            raise refused(400, rule, observed, "send all inputs the same way")
        given = [
            _Tensor(
                entry.name,
                entry.datatype,
                entry.shape,
                raw[index] if raw else framing.typed_contents(entry, self._limits.rows),
            )
            for index, entry in enumerate(message.inputs)
        ]
        return self._read(given, head)

    def _read(self, given: Sequence[_Tensor], head: Head) -> InferRequest:
        if not given:
            remedy = "send each column as an input"
            raise refused(422, "A request holds at least one input", "an empty list of inputs", remedy)
        rows = self._rows(given)
        plain = by_column.doubles(
            [
                (self._numeric[tensor.name], tensor.data)
                for tensor in given
                if tensor.datatype == "FP64" and tensor.name in self._numeric
            ],
            rows,
        )
        found: Raw = {}
        others: dict[str, list[Any]] = {}
        for tensor in given:
            if tensor.name in found or tensor.name in others:
                remedy = "send each column once"
                raise refused(422, "Each input is sent once", f"input {tensor.name!r} again", remedy)
            if tensor.name in plain:
                found[tensor.name] = plain[tensor.name]
                continue
            if tensor.name in self._others:
                values = _values(tensor, rows)
                others[tensor.name] = values.tolist() if isinstance(values, np.ndarray) else list(values)
                continue
            column = self._columns.get(tensor.name)
            if column is None:
                raise _unknown("input", tensor.name, [*self._columns, *self._others])
            found[tensor.name] = by_column.to_raw(column, _values(tensor, rows))
        raw = {
            name: found[name] if name in found else by_column.absent(column, rows)
            for name, column in self._columns.items()
        }
        return InferRequest(raw, rows, others, head.id, head.parameters, self._selected(head))

    def _rows(self, given: Sequence[_Tensor]) -> int:
        rows = -1
        for tensor in given:
            shape = tensor.shape
            if not (len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)) or shape[0] < 0:
                observed = f"input {tensor.name[:100]!r}: {_shape(shape)}"
                raise refused(422, "An input's shape is [N] or [N, 1], N rows", observed, "send one value per row")
            if rows not in (-1, shape[0]):
                observed = f"input {given[0].name[:100]!r}: {rows}, input {tensor.name[:100]!r}: {_shown(shape[0])}"
                raise refused(422, "All inputs have the same number of rows", observed, "send one value per row")
            rows = shape[0]
        if rows > self._limits.rows:
            raise too_large(self._limits, f"{_shown(rows)} rows")
        return rows

    def _selected(self, head: Head) -> tuple[Wanted, ...]:
        everything = head.parameters.get("binary_data_output", False) is True
        if not head.outputs:
            return tuple(Wanted(name, everything) for name in self._outputs)
        wanted: dict[str, Wanted] = {}
        for name, parameters in ((output.name, output.parameters) for output in head.outputs):
            if name not in self._outputs:
                raise _unknown("output", name, self._outputs)
            if name in wanted:
                raise refused(422, "Each output is asked for once", f"output {name!r} again", "name it once")
            if parameters.get("classification") or "shared_memory_region" in parameters:
                rule = "Outputs are returned as they are: neither classified nor in shared memory"
                raise refused(422, rule, f"output {name!r}", "leave those parameters out")
            wanted[name] = Wanted(name, parameters.get("binary_data", everything) is True)
        return tuple(wanted.values())


def _values(tensor: _Tensor, rows: int) -> np.ndarray | list[Any]:
    name, datatype, data = tensor.name, tensor.datatype, tensor.data
    if datatype not in tensors.DTYPES:
        rule = f"A datatype is one of {', '.join(tensors.DTYPES)}"
        raise refused(422, rule, f"input {name!r}: {datatype[:40]!r}", "correct the datatype")
    if not isinstance(data, list):
        return tensors.from_binary(datatype, data, rows, name)
    if len(data) != rows:
        observed = f"input {name!r}: {len(data)} values, shape {_shape(tensor.shape)}"
        raise refused(422, "An input has as many values as its shape says", observed, "correct the shape or the data")
    return tensors.from_json(datatype, data, name)


def _unknown(what: str, name: str, names: Sequence[str]) -> RequestError:
    near = difflib.get_close_matches(name[:100], names, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    remedy = f"{hint}The {what}s are {listed(sorted(names))}"
    return refused(422, f"A request may only name {what}s that the model has", f"unknown {what} {name[:100]!r}", remedy)


def _shape(shape: Sequence[int]) -> str:
    return f"[{', '.join(_shown(size) for size in shape[:4])}{', …' if len(shape) > 4 else ''}]"


def _shown(size: int) -> str:
    return str(size) if abs(size) < 2**64 else "more than 2^64"
