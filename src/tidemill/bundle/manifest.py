"""manifest.json: what a bundle is, what goes in and out, where it comes from and how good it is.

What a predictor needs is typed; what is only kept and shown (results, settings) is plain values.
"""

import dataclasses
import importlib.metadata
import json
import math
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

import tidemill
from tidemill.bundle import checksums, signing
from tidemill.bundle.answers import names, tensor_name
from tidemill.composition import build
from tidemill.data.schema import Column, Schema
from tidemill.data.target import Target
from tidemill.errors import BundleError, SettingsError
from tidemill.settings import Kind, Objective

NAME = "manifest.json"
FORMAT = 1
_DEPENDENCIES = ("numpy", "polars", "onnx", "onnxruntime", "onnxruntime-gpu", "spox", "torch", "lightning", "ray")
_TYPES = {Kind.NUMERIC: "float64", Kind.BOOLEAN: "float64", Kind.CATEGORICAL: "string", Kind.TIMESTAMP: "int64"}
_MISSING = {Kind.NUMERIC: "NaN", Kind.BOOLEAN: "NaN", Kind.CATEGORICAL: '""', Kind.TIMESTAMP: "-2^63"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """version: given by the registry; null before. created: UTC, ISO 8601."""

    model: str
    version: str | None
    created: str
    objective: Objective
    classes: list[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Code:
    """What made the bundle. commit: null outside a Git checkout; "+" marks uncommitted changes."""

    tidemill: str
    commit: str | None
    dependencies: dict[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """One 1-D input of the graph. missing: the value that stands for a missing one, in words.

    reading: what the doors of Tidemill do to a value before the graph gets it, and who runs model.onnx by other means
    must do, in words.
    """

    name: str
    kind: Kind
    type: str
    missing: str
    missing_allowed: bool
    reading: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """tensor: the graph output, which has another name where a column took the answer's."""

    name: str
    tensor: str
    type: str
    shape: list[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Interface:
    """The graph's door: what goes in and out, and the schema that requests are read by.

    inputs: those of the schema's inputs that the graph reads; a preparation leaves constant ones out.
    """

    inputs: list[Input]
    outputs: list[Output]
    schema: dict[str, Any]

    @classmethod
    def of(cls, schema: Schema, inputs: Sequence[Column], target: Target) -> "Interface":
        columns = tuple(column.name for column in inputs)
        shape = {"probabilities": ["batch", str(len(target.classes))]}
        return cls(
            inputs=[
                Input(
                    name=column.name,
                    kind=column.kind,
                    type=_TYPES[column.kind],
                    missing=_MISSING[column.kind],
                    missing_allowed=column.missing_allowed,
                    reading=_reading(column),
                )
                for column in inputs
            ],
            outputs=[
                Output(
                    name=name,
                    tensor=tensor_name(name, columns),
                    type="string" if name == "label" else "float32",
                    shape=shape.get(name, ["batch"]),
                )
                for name in names(target.objective)
            ],
            schema=schema.to_dict(),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """data: fingerprint, split, rows. results: the run's folder, metrics, calibration, baselines, parity, gate."""

    format: int
    identity: Identity
    interface: Interface
    code: Code
    data: dict[str, Any]
    results: dict[str, Any]
    settings: dict[str, Any]

    @property
    def schema(self) -> Schema:
        return Schema.from_dict(self.interface.schema)


_TRIMMED = "White space around a text (Unicode's White_Space) is no part of it"


def _reading(column: Column) -> str:
    """What a value goes through before it comes to the graph."""
    marks = ", ".join(map(repr, column.missing_marks[:20]))
    if column.kind is Kind.CATEGORICAL:
        said = [f"{_TRIMMED}, and it is composed (Unicode NFC): do both before the graph."]
        if column.missing_marks:
            said.append(f"The graph itself takes {marks} as missing.")
        if column.numeric_categories:
            said.append(
                'A number is written without a sign of plus and without zeros at the end of its fraction ("3", "2.5"); '
                'the graph itself takes "3.0" as "3".'
            )
        return " ".join(said)
    said = [
        f"{_TRIMMED}; {marks} and the empty text are missing." if marks else f"{_TRIMMED}; the empty one is missing."
    ]
    if column.kind is Kind.NUMERIC:
        point = "comma" if column.decimal_comma else "point"
        grouped = f", its thousands may be grouped by {column.thousands!r}" if column.thousands else ""
        said.insert(0, f"A number in text has a decimal {point}{grouped}.")
    elif column.kind is Kind.BOOLEAN:
        said.insert(0, "true, yes, t, y and 1 are 1; false, no, f, n and 0 are 0, in any case.")
    else:
        units = {"epoch_s": "seconds", "epoch_ms": "milliseconds"}
        unit = units.get(column.format or "", "microseconds")
        pattern = f"{column.format} or " if column.format and not column.format.startswith("epoch_") else ""
        said.insert(
            0,
            f"The graph takes microseconds since 1970-01-01 UTC; the doors take numbers in {unit}, and text as "
            f"{pattern}ISO 8601, which is UTC where it names no offset.",
        )
    return " ".join(said)


def compose(
    model: str,
    interface: Interface,
    target: Target,
    *,
    data: Mapping[str, Any],
    results: Mapping[str, Any],
    settings: object,
) -> Manifest:
    """A new manifest, without a version yet, with this moment and this environment written into it.

    Args:
        data, results, settings: mappings of anything `plain` understands (dataclasses, enums, tuples).
    """
    return Manifest(
        format=FORMAT,
        identity=Identity(
            model=model,
            version=None,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            objective=target.objective,
            classes=list(target.classes),
        ),
        interface=interface,
        code=_code(),
        data=plain(data),
        results=plain(results),
        settings=plain(settings),
    )


def write(manifest: Manifest, folder: Path) -> None:
    text = json.dumps(plain(manifest), indent=2, ensure_ascii=False, allow_nan=False)
    (folder / NAME).write_text(text + "\n", encoding="utf-8")


def read(folder: Path) -> Manifest:
    """The manifest of the bundle in `folder`.

    Raises:
        BundleError: the file is missing, damaged, or of a format that this version does not know.
    """
    path = folder / NAME
    return parse(path.read_bytes() if path.is_file() else None, str(folder))


def stamp(folder: Path, model: str, version: str) -> None:
    """Write into a bundle which version of which model it is from now on, and sum its files up again."""
    (folder / signing.NAME).unlink(missing_ok=True)  # of other files: a manifest with a number was not signed yet
    described = read(folder)
    write(
        dataclasses.replace(described, identity=dataclasses.replace(described.identity, model=model, version=version)),
        folder,
    )
    checksums.write(folder)


def parse(text: bytes | None, place: str) -> Manifest:
    """The manifest that lay in `place`; None when there is none."""
    try:
        content = json.loads(text or b"")
        if content["format"] == FORMAT:
            return build(Manifest, content)
        observed = f"format {content['format']!r}, where this version reads {FORMAT}"
    except (ValueError, KeyError, TypeError, SettingsError) as error:
        observed = "no such file" if text is None else f"{type(error).__name__}: {error}"
    raise BundleError(
        "A bundle's manifest.json is one that this version of Tidemill can read",
        observed=f"{place}/{NAME}: {observed}",
        remedy="use the version of Tidemill that wrote the bundle, or export it again",
    )


def plain(value: object) -> Any:
    """Values for standard JSON: dataclasses and mappings to objects, enums to text, NaN and ±infinity to null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)


def _code() -> Code:
    versions: dict[str, str] = {}
    for name in _DEPENDENCIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return Code(tidemill=tidemill.__version__, commit=_commit(), dependencies=versions)


def _commit() -> str | None:
    source = Path(__file__).parent
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"],
            cwd=source,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip()
