"""What surrounds the tensors of a request: the JSON and the binary parts behind it, or a gRPC message's fields."""

import json
from typing import Any

import msgspec

from tidemill.serve.wire import depth
from tidemill.serve.wire.refusals import refused

Parameters = dict[str, bool | int | float | str]


class Input(msgspec.Struct, frozen=True, gc=False):
    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


class _Output(msgspec.Struct, frozen=True, gc=False):
    name: str
    parameters: dict[str, Any] = {}


class Head(msgspec.Struct, frozen=True, gc=False):
    """A request without its binary data. inputs: of an HTTP request; outputs: those that are asked for."""

    inputs: list[Input]
    id: str = ""
    parameters: Parameters = {}
    outputs: list[_Output] = []


_DECODER = msgspec.json.Decoder(Head)


def parted(body: bytes, json_length: str | bytes | None, most: int) -> tuple[Head, memoryview]:
    """The request, and the binary data behind its JSON.

    Args:
        most: values that the JSON may hold.

    Raises:
        RequestError: 400, the length is wrong, or there is no such request in the JSON; 413, it holds too much.
    """
    split = len(body)
    if json_length is not None:
        text = json_length.decode("latin-1") if isinstance(json_length, bytes) else json_length
        split = int(text) if text.isascii() and text.isdigit() and len(text) < 16 else -1
        if not 0 <= split <= len(body):
            rule = "Inference-Header-Content-Length is the length of the JSON at the body's begin"
            raise refused(
                400, rule, f"{text[:40]!r}; the body has {len(body)} bytes", "send the JSON's length in bytes"
            )
    document = body if split == len(body) else body[:split]
    if depth.too_many(document, most):
        raise refused(
            413, f"A request's JSON holds at most {most} values", "more than that", "send the rows in several requests"
        )
    return _parsed(document), memoryview(body)[split:]


def binary_parts(head: Head, binary: memoryview) -> list[memoryview | None]:
    """The binary data of each input; None where its data stand in the JSON.

    Raises:
        RequestError: 400, the sizes do not add up to what is there.
    """
    parts: list[memoryview | None] = []
    at = 0
    for entry in head.inputs:
        if "binary_data_size" not in entry.parameters:
            parts.append(None)
            continue
        size = entry.parameters["binary_data_size"]
        if entry.data is not None:
            remedy = "leave out one of the two"
            raise refused(400, "An input has 'data' or 'binary_data_size'", f"input {_name(entry)}: both", remedy)
        if type(size) is not int or not 0 <= size <= len(binary) - at:
            raise refused(
                400,
                "binary_data_size is a whole number of bytes that follow the JSON",
                f"input {_name(entry)}: {repr(size)[:40]}, where {len(binary) - at} bytes are left",
                "send the data behind the JSON, and the JSON's length as the header Inference-Header-Content-Length",
            )
        parts.append(binary[at : at + size])
        at += size
    if at != len(binary):
        observed = f"{len(binary) - at} bytes more"
        raise refused(
            400, "Nothing follows the inputs' binary data", observed, "correct the binary_data_size of the inputs"
        )
    return parts


def json_data(entry: Input) -> list[Any]:
    """An input's values, row by row; [N, 1] may nest or not.

    Raises:
        RequestError: 400, it has none.
    """
    if entry.data is None:
        raise _no_data(entry.name)
    if len(entry.shape) == 2 and entry.data and all(type(row) is list and len(row) == 1 for row in entry.data):
        return [row[0] for row in entry.data]
    return entry.data


_CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "INT64": "int64_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def typed_contents(entry: Any, most: int) -> list[Any]:
    """The values of a message's input tensor, from the field of its datatype.

    Args:
        most: rows that a request may hold. A value takes one byte of a message, and many times that as an object.

    Raises:
        RequestError: 400, the datatype has no such field; 413, too many; 422, BYTES that are not UTF-8.
    """
    field = _CONTENTS.get(entry.datatype)
    if field is None:
        rule = f"Typed contents are of {', '.join(_CONTENTS)}"
        raise refused(400, rule, f"input {_name(entry)}: {entry.datatype[:40]!r}", "use raw_input_contents")
    given = getattr(entry.contents, field)
    if len(given) > most:
        observed = f"input {_name(entry)}: {len(given)}"
        raise refused(413, f"An input holds at most {most} values", observed, "send the rows in several requests")
    values = list(given)
    if not values and all(entry.shape):
        raise _no_data(entry.name)
    if field != "bytes_contents":
        return values
    texts: list[str] = []
    for row, value in enumerate(values):
        try:
            texts.append(value.decode())
        except UnicodeDecodeError as error:
            observed = f"input {_name(entry)}, row {row}: byte {error.start} is not UTF-8"
            raise refused(422, "The values are of the datatype BYTES", observed, "send text in UTF-8") from error
    return texts


def message_head(message: Any) -> Head:
    outputs = [_Output(output.name, _parameters(output.parameters)) for output in message.outputs]
    return Head([], message.id, _parameters(message.parameters), outputs)


def _parameters(entries: Any) -> Parameters:
    """Plain values of a message's map of parameters."""
    found: Parameters = {}
    for name, parameter in entries.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is not None:
            found[name] = getattr(parameter, choice)
    return found


def _parsed(text: bytes) -> Head:
    try:
        return depth.parsed(text, _DECODER.decode)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    try:  # NaN and Infinity are not JSON, but what Triton's clients send for them
        content = depth.parsed(text, json.loads)
        json.dumps(content, ensure_ascii=False).encode()  # no half surrogate pairs: they could not be sent back
        return msgspec.convert(content, Head)
    except msgspec.ValidationError as error:
        observed = str(error)
        rule = "A request is an object with 'inputs', each with 'name', 'datatype', 'shape' and 'data'"
        raise refused(400, rule, observed[:200], "follow the Open Inference Protocol, version 2") from error
    except (ValueError, RecursionError) as error:
        observed = str(error)[:200]
        raise refused(400, "A request's body is JSON in UTF-8", observed, "send JSON") from error


def _no_data(name: str) -> Exception:
    remedy = "send 'data', or 'binary_data_size' and the bytes; shared memory is not offered"
    return refused(400, "Each input has its data in the request", f"input {name[:100]!r} has none", remedy)


def _name(entry: Any) -> str:
    return repr(entry.name[:100])
