"""Every door by which values reach a model: each gives the raw columns that it reads a table as."""

import csv
import gzip
import io
import json
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import yaml

from tidemill.bulk import inputs, reading
from tidemill.bulk.scoring import Scorer
from tidemill.bundle.predictor import Predictor
from tidemill.composition import build
from tidemill.data import infer, sources, typed
from tidemill.data.raw import Raw, from_table
from tidemill.data.schema import Schema
from tidemill.preparation.fit import fit
from tidemill.preparation.run import Preparation
from tidemill.python import Model
from tidemill.serve.wire import arrow, protocol
from tidemill.serve.wire.inference import tensors
from tidemill.serve.wire.inference.messages import ModelInferRequest
from tidemill.serve.wire.inference.requests import Decoder
from tidemill.serve.wire.protocol import Limits
from tidemill.serve.wire.reader import Reader, Unplain
from tidemill.settings import DataSettings, Kind, Objective, PreparationSettings

ROOT = Path(__file__).parents[2]
LIMITS = Limits(rows=10_000, bytes=2**26)


def settings_for(path: Path, **changes: Any) -> DataSettings:
    values = yaml.safe_load((ROOT / "conf/data/table.yaml").read_text())
    return build(DataSettings, {**values, "path": str(path), **changes}, "data")


class Trained:
    """A file as training reads it. stored: its columns as a client has them that knows the file and nothing else."""

    def __init__(self, path: Path, **settings: Any) -> None:
        given = settings_for(path, **settings)
        frame = sources.open(given)
        schema = infer.infer(frame, given)
        self.path = path
        table = typed.apply(frame, schema)
        assert not table.quarantined.height, table.quarantined
        times = [column.name for column in schema.inputs if column.kind is Kind.TIMESTAMP]
        ends = {name: (table.table[name].min(), table.table[name].max()) for name in times}
        self.schema = Schema.from_dict(schema.with_ranges(ends).to_dict())  # as a manifest has it
        self.raw = from_table(table.table, self.schema.inputs)
        self.rows = table.table.height
        prepared = yaml.safe_load((ROOT / "conf/preparation/default.yaml").read_text())
        prepared["categorical"]["min_count"] = 1
        self.preparation: Preparation = fit(table.table, self.schema, build(PreparationSettings, prepared))
        names = [column.name for column in self.schema.inputs]
        stored = _as_written(path) if path.name.endswith((".csv", ".csv.gz")) else frame.collect()
        self.stored = {name: stored[name].to_list() for name in names}


def _as_written(path: Path) -> pl.DataFrame:
    """A CSV file's fields as they stand in it, padding and all."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    text = content.decode("utf-8-sig")
    separator = ";" if text.partition("\n")[0].count(";") else ","
    header, *rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    columns = {name.strip(): [row[i] for row in rows if row] for i, name in enumerate(header)}
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))


def _plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, Decimal):
        return float(value)
    return value.isoformat() if isinstance(value, date | datetime) else value


def json_rows(trained: Trained) -> Raw:
    columns = [[_plain(value) for value in values] for values in trained.stored.values()]
    rows = [dict(zip(trained.stored, row, strict=True)) for row in zip(*columns, strict=True)]
    body, reader = json.dumps({"rows": rows}).encode(), Reader(trained.schema)
    decoded, _ = protocol.decode(body, reader, LIMITS)
    if decoded.raw is not None:
        return decoded.raw
    try:
        return reader.raw(decoded.records or [])
    except Unplain:
        return protocol.reread(body, reader, LIMITS)[0].raw or {}


def _tensors(trained: Trained) -> list[tuple[str, str, list[Any]]]:
    """Name, datatype and values of each column; a gap has no tensor of its type but in JSON."""
    found = []
    for name, values in trained.stored.items():
        plain = [_plain(value) for value in values]
        kinds = {type(value) for value in plain if value is not None}
        datatype = {frozenset({int}): "INT64", frozenset({bool}): "BOOL", frozenset({str}): "BYTES"}
        found.append((name, datatype.get(frozenset(kinds), "FP64"), plain))
    return found


def _decoder(trained: Trained) -> Decoder:
    return Decoder(trained.schema.inputs, ("value",), limits=LIMITS)


def protocol_json(trained: Trained) -> Raw:
    given = [
        {"name": name, "datatype": datatype, "shape": [trained.rows], "data": values}
        for name, datatype, values in _tensors(trained)
    ]
    return _decoder(trained).http(json.dumps({"inputs": given}).encode()).raw


def _bytes(datatype: str, values: list[Any]) -> tuple[str, bytes]:
    if None in values and datatype in ("INT64", "BOOL"):  # binary data have no null: as a float, or as text
        big = any(value is not None and abs(value) > 2**53 for value in values)
        datatype, values = ("BYTES", [value and str(value) for value in values]) if big else ("FP64", values)
    if datatype == "FP64":
        return datatype, np.array([np.nan if value is None else value for value in values], "<f8").tobytes()
    if datatype == "BYTES":
        return datatype, tensors.to_binary(np.array([value or "" for value in values], object), datatype)
    return datatype, tensors.to_binary(np.array(values), datatype)


def protocol_binary(trained: Trained) -> Raw:
    parts = [(name, *_bytes(datatype, values)) for name, datatype, values in _tensors(trained)]
    head = [
        {"name": name, "datatype": datatype, "shape": [trained.rows], "parameters": {"binary_data_size": len(data)}}
        for name, datatype, data in parts
    ]
    body = json.dumps({"inputs": head}).encode()
    return _decoder(trained).http(body + b"".join(data for _, _, data in parts), str(len(body))).raw


def protocol_grpc(trained: Trained) -> Raw:
    message = ModelInferRequest()
    for name, datatype, values in _tensors(trained):
        datatype, data = _bytes(datatype, values)
        message.inputs.add(name=name, datatype=datatype, shape=[trained.rows])
        message.raw_input_contents.append(data)
    return _decoder(trained).message(message).raw


def arrow_stream(trained: Trained) -> Raw:
    table = sources.open(settings_for(trained.path)).collect().select(list(trained.stored))
    decimals = [name for name, dtype in table.schema.items() if dtype.is_decimal()]  # no door takes these
    body = io.BytesIO()
    table.with_columns(pl.col(decimals).cast(pl.Float64)).write_ipc_stream(body)
    return arrow.decode(body.getvalue(), Reader(trained.schema), LIMITS).raw


class Listening(Predictor):
    """Keeps what it is asked."""

    def __init__(self, schema: Schema) -> None:
        identity = SimpleNamespace(objective=Objective.REGRESSION, classes=[])
        interface = SimpleNamespace(inputs=[])
        self.manifest = SimpleNamespace(identity=identity, interface=interface, schema=schema)  # type: ignore[assignment]
        self.columns, self.profile = schema.inputs, {"inputs": {"columns": {}}}
        self.heard: list[Raw] = []

    def predict(self, raw: Raw) -> Raw:
        self.heard.append(raw)
        return dict.fromkeys(("value", "lower", "upper"), np.zeros(len(next(iter(raw.values()))), np.float32))


def _scored(trained: Trained, path: Path) -> Raw:
    listening = Listening(trained.schema)
    file = inputs.look(str(path), 0)
    settled = reading.settle([file], trained.schema, (), ["file", "row"])
    scorer = Scorer(listening, settled.kept)
    for chunk in inputs.chunks(file, list(trained.stored), settled.schemas[0], 50, 0):
        assert not scorer(chunk).quarantined.height
    return {name: np.concatenate([raw[name] for raw in listening.heard]) for name in trained.stored}


def bulk(trained: Trained) -> Raw:
    return _scored(trained, trained.path)


def _stored_again(trained: Trained, ending: str) -> Path:
    path = trained.path.parent / f"again.{ending}"
    table = sources.open(settings_for(trained.path)).collect().select(list(trained.stored))
    if ending == "jsonl":
        lines = zip(*([_plain(value) for value in table[name].to_list()] for name in trained.stored), strict=True)
        path.write_text("\n".join(json.dumps(dict(zip(trained.stored, line, strict=True))) for line in lines))
    else:
        {"parquet": table.write_parquet, "arrow": table.write_ipc}[ending](path)
    return path


def bulk_parquet(trained: Trained) -> Raw:
    return _scored(trained, _stored_again(trained, "parquet"))


def bulk_arrow(trained: Trained) -> Raw:
    return _scored(trained, _stored_again(trained, "arrow"))


def bulk_lines(trained: Trained) -> Raw:
    return _scored(trained, _stored_again(trained, "jsonl"))


def _predicted(trained: Trained, rows: Any) -> Raw:
    listening = Listening(trained.schema)
    Model(listening).predict(rows)
    return {name: np.concatenate([raw[name] for raw in listening.heard]) for name in trained.stored}


def _table(trained: Trained) -> pl.DataFrame:
    return sources.open(settings_for(trained.path)).collect().select(list(trained.stored))


def python_rows(trained: Trained) -> Raw:
    rows = zip(*trained.stored.values(), strict=True)
    return _predicted(trained, [dict(zip(trained.stored, row, strict=True)) for row in rows])


def python_polars(trained: Trained) -> Raw:
    return _predicted(trained, _table(trained))


def python_pandas(trained: Trained) -> Raw:
    return _predicted(trained, _table(trained).to_pandas())


def python_arrow(trained: Trained) -> Raw:
    return _predicted(trained, _table(trained).to_arrow())


DOORS = [
    json_rows, protocol_json, protocol_binary, protocol_grpc, arrow_stream, bulk, bulk_parquet, bulk_arrow, bulk_lines,
    python_rows, python_polars, python_pandas, python_arrow,
]  # fmt: skip
