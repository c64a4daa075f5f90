"""JSON Schemas of what goes in and out of a model's server, made from its columns and classes.

They say what is accepted, not what was seen: a category that no record had before is no error, nor is a number out of
the range of training, so domains and ranges stand in descriptions.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tidemill.bundle.answers import names
from tidemill.bundle.manifest import Identity
from tidemill.data.cells.epochs import EPOCHS
from tidemill.data.cells.refusals import what_is_taken
from tidemill.data.scalars import EXACT
from tidemill.data.schema import Column
from tidemill.serve.wire.inference.columns import OFFERED
from tidemill.serve.wire.inference.responses import DATATYPES
from tidemill.settings import Kind, Objective

Schema = dict[str, Any]

ID = "^[0-9a-f]{1,64}-(0|[1-9][0-9]{0,8})$"
_SHOWN = 50  # categories
_JSON_TYPES = {
    Kind.NUMERIC: ["number", "string", "boolean"],
    Kind.CATEGORICAL: ["string", "number", "boolean"],
    Kind.BOOLEAN: ["boolean", "integer", "string"],
    Kind.TIMESTAMP: ["string", "integer"],
}
"""What a column's values may be written as; the first is best."""


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def row(columns: Sequence[Column], others: Sequence[str]) -> Schema:
    """One record. others: columns that are taken and recorded without reaching the model."""
    anything = {"type": ["string", "number", "boolean", "null"], "description": "Recorded; the model does not see it."}
    properties = {column.name: _column(column) for column in columns} | dict.fromkeys(others, anything)
    required = [column.name for column in columns if not column.missing_allowed]
    return _object(properties, required)


def tensor_names(columns: Sequence[Column]) -> Schema:
    """An input of the Open Inference Protocol."""
    offered = ", ".join(f"{column.name}: {OFFERED[column.kind]}" for column in columns)
    return _object(
        {
            "name": {"type": "string"},
            "datatype": {"type": "string", "description": f"Best: {offered}"},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "maxItems": 2},
            "parameters": {"type": "object"},
            "data": {"type": "array"},
        },
        ["name", "datatype", "shape"],
    )


def prediction(identity: Identity) -> Schema:
    version = {"type": "string", "description": "That answered this row, where rows went to several."}
    id_ = {"type": "string", "pattern": ID, "description": "To send the label with, once it is known."}
    if identity.objective is Objective.REGRESSION:
        number = {"type": "number"}
        interval = {"type": "array", "prefixItems": [number, number], "minItems": 2, "maxItems": 2}
        properties: Schema = {"id": id_, "value": number, "interval": interval, "version": version}
        return _object(properties, ["id", "value", "interval"])
    probability = {"type": "number", "minimum": 0, "maximum": 1.000001}  # rounded as float32
    classes = identity.classes
    probabilities = _object(dict.fromkeys(classes, probability))
    label = {"type": "string", "enum": classes}
    properties = {"id": id_, "probabilities": probabilities, "label": label, "version": version}
    return _object(properties, ["id", "probabilities", "label"])


def label(identity: Identity, key: str | None) -> Schema:
    """One label of /feedback. key: the model's column of keys, if it has one."""
    if identity.objective is Objective.REGRESSION:
        value: Schema = {"type": "number"}
    else:
        text = "A number or truth value stands for the class that is written like it."
        value = {
            "anyOf": [{"type": "string", "enum": identity.classes}, {"type": ["number", "boolean"]}],
            "description": text,
        }
    at = {
        "type": ["string", "null"],
        "description": "When it came true: ISO 8601 (UTC without offset) or as in training.",
    }
    properties: Schema = {"id": {"type": "string", "pattern": ID}, "label": value, "at": at}
    if key is None:
        return _object(properties, ["id", "label"])
    text = f"What the record had as {key!r} in /predict. The label holds for every answer to it that was given before."
    properties["key"] = {"type": ["string", "number"], "minLength": 1, "description": text}
    return _object(properties, ["label"]) | {"oneOf": [{"required": ["id"]}, {"required": ["key"]}]}


def fixed(identity: Identity) -> Mapping[str, Schema]:
    """Those that look alike for every model."""
    text, count = {"type": "string"}, {"type": "integer", "minimum": 0}
    error = _object({"rule": text, "observed": text, "remedy": text})
    version = {"type": ["string", "integer", "null"], "description": "The version that shall answer: one in use."}
    keys = {"type": ["array", "null"], "items": {"type": ["string", "integer"]}, "description": "A record's key each."}
    output = _object({"name": {"enum": list(names(identity.objective))}, "parameters": {"type": "object"}}, ["name"])
    answer = {
        "name": text,
        "datatype": {"enum": sorted(set(DATATYPES.values()))},
        "shape": {"type": "array", "items": count},
        "data": {"type": "array"},
        "parameters": {"type": "object"},
    }
    profile = {"type": "object", "properties": {"rows": count, "columns": {"type": "object"}}, "required": ["rows"]}
    hour = _object(
        {
            "hour": {"type": "string", "format": "date-time"},
            "version": text,
            "unreadable": {**count, "description": "Rows whose inputs could not be read."},
            "skipped": {**count, "description": "Rows that were not counted, to take little time from answers."},
            "inputs": profile,
            "answers": profile,
        }
    )
    inference = {"type": "array", "items": ref("InferInput"), "minItems": 1}
    return {
        "PredictRequest": _object({"rows": _array(ref("Row")), "version": version, "keys": keys}, ["rows"]),
        "PredictResponse": _object({"model": text, "version": text, "predictions": _array(ref("Prediction"))}),
        "FeedbackRequest": _object({"labels": _array(ref("Label"))}),
        "FeedbackResponse": _object({"received": count}),
        "Health": {
            "type": "object",
            "properties": {"status": text, "model": text, "version": text},
            "required": ["status"],
        },
        "Profiles": _object({"model": text, "replicas": _array(text), "hours": _array(hour)}),
        "Error": _object({"error": error}),
        "InferOutput": output,
        "InferRequest": {
            "type": "object",
            "properties": {
                "id": text,
                "parameters": {"type": "object"},
                "inputs": inference,
                "outputs": _array(ref("InferOutput")),
            },
            "required": ["inputs"],
        },
        "InferResponse": {
            "type": "object",
            "properties": {
                "id": text,
                "model_name": text,
                "model_version": text,
                "parameters": {"type": "object"},
                "outputs": _array(_object(answer, ["name", "datatype", "shape"])),
            },
            "required": ["model_name", "model_version", "outputs"],
        },
        "ProtocolError": _object({"error": text}),
    }


def _object(properties: Mapping[str, Any], required: Sequence[str] | None = None) -> Schema:
    """required: all where nothing else is said."""
    needed = list(properties if required is None else required)
    schema: Schema = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    return schema | ({"required": needed} if needed else {})


def _array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _column(column: Column) -> Schema:
    types = _JSON_TYPES[column.kind]
    if column.kind is Kind.TIMESTAMP and column.format in EPOCHS:
        types = ["string", "number"]
    schema: Schema = {"type": [*types, "null"] if column.missing_allowed else types, "description": _described(column)}
    if column.kind is Kind.BOOLEAN:
        schema |= {"minimum": 0, "maximum": 1}  # of numbers
    if column.kind is Kind.CATEGORICAL and not column.missing_allowed:
        schema["minLength"] = 1
        if column.missing_marks:
            schema["not"] = {"enum": list(column.missing_marks)}
    return schema


def _described(column: Column) -> str:
    parts = [str(column.kind)]
    if column.kind is Kind.NUMERIC:
        parts.append(f"{what_is_taken(column)}; a whole number lies within ±{EXACT:,}")
    elif column.kind is Kind.BOOLEAN:
        parts.append("true, yes, t, y, 1; false, no, f, n, 0")
    elif column.kind is Kind.TIMESTAMP:
        parts.append(f"{what_is_taken(column)}; without an offset: UTC")
    elif column.numeric_categories:
        parts.append('3, 3.0, "3" and "3.0" are one')
    if column.minimum is not None or column.maximum is not None:
        parts.append(f"usually from {_bound(column.minimum)} to {_bound(column.maximum)}")
    if column.domain is not None:
        more = ", …" if len(column.domain) > _SHOWN else ""
        parts.append(f"usually one of {', '.join(column.domain[:_SHOWN])}{more}; others are taken too")
    if column.missing_marks:
        parts.append(f"missing also as {', '.join(column.missing_marks)}")
    parts.append("may be missing (null, or left out)" if column.missing_allowed else "always needed")
    return "; ".join(parts)


def _bound(value: float | None) -> str:
    return "any" if value is None else f"{value:g}"
