"""One reading of values: as they stand in a file, they are the same to training, every door and plain onnxruntime.

Each door's own decoder runs on the file's values; what it gives to the graph must be what training gave to it, value
for value, and the graph by itself must make of the texts what it made of training's.
"""

import csv
import gzip
import io
import json
import unicodedata
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from tidemill.bulk import inputs, reading
from tidemill.bulk.scoring import Scorer
from tidemill.bundle.predictor import Predictor
from tidemill.composition import build
from tidemill.data import infer, sources, typed
from tidemill.data.plain import WHITE_SPACE
from tidemill.data.raw import Raw, from_table
from tidemill.data.schema import Schema
from tidemill.preparation.cut import session_of
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
SHARED = next((place / "shared/data" for place in ROOT.parents if (place / "shared/data").is_dir()), Path("nowhere"))
LIMITS = Limits(rows=10_000, bytes=2**26)
ROWS = 120


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
    decoded = protocol.decode(body, reader, LIMITS)
    if decoded.raw is not None:
        return decoded.raw
    try:
        return reader.raw(decoded.records or [])
    except Unplain:
        return protocol.reread(body, reader, LIMITS).raw or {}


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

ODD = {
    "id": [f"{1_152_921_504_606_846_976 + i % 3 * 1001}" for i in range(ROWS)],
    "city": [[" Zürich", "Zu\u0308rich\u00a0", "?", "Rome\t", "", "New York", " ? ", "NA"][i % 8] for i in range(ROWS)],
    "price": [["1.250,5", " 3,14", "950", "-", "2.000.000"][i % 5] for i in range(ROWS)],
    "count": [["7", " 12", "-3", "1e2", "NaN", "0.5"][i % 6] for i in range(ROWS)],
    "paid": [["Yes", " no", "YES", "n/a"][i % 4] for i in range(ROWS)],
    "day": [f"{i % 28 + 1:02}.{i % 12 + 1:02}.2013 0{i % 9}:30" for i in range(ROWS)],
    "zoned": [f"2013-06-{i % 28 + 1:02}T12:00:00{['Z', '+05:30', '-0800'][i % 3]}" for i in range(ROWS)],
    "store": [["14.0", "3.0", " 7", "3", "", "14"][i % 6] for i in range(ROWS)],
    "code": [["007", "7", "0", "0070"][i % 4] for i in range(ROWS)],
    "seconds": [f"{1_371_898_800 + 3600 * i}" for i in range(ROWS)],
    "flag": [["True", "False", "maybe"][i % 3] for i in range(ROWS)],
    "y": [str(i % 2) for i in range(ROWS)],
}
KINDS = {"id": "categorical", "store": "categorical", "code": "categorical", "seconds": "timestamp"}
START = datetime(2013, 1, 1, tzinfo=UTC)
TYPED = pl.DataFrame(
    {
        "id": [2**60 + i % 3 * 1001 for i in range(ROWS)],
        "store": [[14.0, 3.0, None, 2.5][i % 4] for i in range(ROWS)],
        "city": [[" Zürich", "Zu\u0308rich", "?", "Rome\u2003", None][i % 5] for i in range(ROWS)],
        "brand": pl.Series([[" a", "b", None][i % 3] for i in range(ROWS)], dtype=pl.Categorical),
        "paid": [[True, False, None][i % 3] for i in range(ROWS)],
        "kind": [bool(i % 2) for i in range(ROWS)],
        "at": [START + timedelta(hours=7 * i) for i in range(ROWS)],
        "day": [date(2013, 1, 1) + timedelta(days=i % 90) for i in range(ROWS)],
        "milliseconds": [1_371_898_800_000 + 1000 * i for i in range(ROWS)],
        "size": pl.Series([i % 17 for i in range(ROWS)], dtype=pl.UInt8),
        "price": pl.Series([Decimal(i % 13) / 4 for i in range(ROWS)], dtype=pl.Decimal(10, 2)),
        "y": [float(i % 2) for i in range(ROWS)],
    }
)
TYPED_KINDS = {"store": "categorical", "kind": "categorical", "milliseconds": "timestamp"}


@pytest.fixture(scope="module")
def odd_csv(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    path = tmp_path_factory.mktemp("odd") / "odd.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, delimiter=";").writerows([ODD.keys(), *zip(*ODD.values(), strict=True)])
    return Trained(path, target="y", kinds=KINDS)


@pytest.fixture(scope="module")
def odd_parquet(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    path = tmp_path_factory.mktemp("typed") / "typed.parquet"
    TYPED.write_parquet(path)
    return Trained(path, target="y", kinds=TYPED_KINDS)


def same(got: Raw, expected: Raw) -> None:
    assert list(got) == list(expected)
    for name, values in expected.items():
        assert got[name].dtype == values.dtype, name
        if values.dtype == object:
            assert got[name].tolist() == values.tolist(), name
        else:
            np.testing.assert_array_equal(got[name], values, name)


def alone(trained: Trained) -> None:
    """The graph by itself: texts as the file has them, but trimmed and composed, as the manifest says."""
    feed = dict(trained.raw)
    for column in trained.schema.inputs:
        if column.kind is Kind.CATEGORICAL:
            texts = ["" if value is None else str(value).strip(WHITE_SPACE) for value in trained.stored[column.name]]
            feed[column.name] = np.array([unicodedata.normalize("NFC", text) for text in texts], object)
    session = session_of(trained.preparation.model)
    got = session.run(None, {one.name: feed[one.name] for one in session.get_inputs()})
    expected = trained.preparation.run(trained.raw)
    np.testing.assert_array_equal(got[0], expected.numeric)
    np.testing.assert_array_equal(got[1], expected.categorical)


def test_the_odd_tables_are_as_odd_as_they_are_meant(odd_csv: Trained, odd_parquet: Trained) -> None:
    kinds = {column.name: str(column.kind) for column in odd_csv.schema.inputs}
    assert kinds == {
        "id": "categorical", "city": "categorical", "price": "numeric", "count": "numeric", "paid": "boolean",
        "day": "timestamp", "zoned": "timestamp", "store": "categorical", "code": "categorical",
        "seconds": "timestamp", "flag": "categorical",
    }  # fmt: skip
    assert set(odd_csv.raw["city"]) == {"Zürich", "Rome", "New York", ""}
    assert set(odd_csv.raw["store"]) == {"14", "3", "7", ""} and set(odd_csv.raw["code"]) == {"007", "7", "0", "0070"}
    assert odd_csv.raw["price"][:3].tolist() == [1250.5, 3.14, 950.0]
    assert set(odd_parquet.raw["id"]) == {str(2**60 + i * 1001) for i in range(3)}
    assert set(odd_parquet.raw["store"]) == {"14", "3", "2.5", ""}


@pytest.mark.parametrize("door", DOORS)
def test_odd_texts_are_the_same_at_every_door(odd_csv: Trained, door: Any) -> None:
    same(door(odd_csv), odd_csv.raw)


@pytest.mark.parametrize("door", DOORS)
def test_odd_types_are_the_same_at_every_door(odd_parquet: Trained, door: Any) -> None:
    same(door(odd_parquet), odd_parquet.raw)


def test_the_graph_by_itself_knows_marks_and_both_spellings(odd_csv: Trained, odd_parquet: Trained) -> None:
    alone(odd_csv)
    alone(odd_parquet)


TABLES = {
    "tabular/adult_train.csv.gz": {"target": "income"},
    "tabular/california_housing.csv.gz": {},
    "tabular/covtype.parquet": {},
    "tabular/hotel_bookings.csv.gz": {"target": "is_canceled", "kinds": {"agent": "categorical"}},
    "drift/elec2_norm.csv.gz": {},
    "drift/noaa_weather.csv.gz": {},
    "text/womens_clothing_reviews.csv.gz": {},
    "text/banking77_train.csv.gz": {},
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_a_slice_of_a_real_table_is_the_same_at_every_door(name: str, tmp_path: Path) -> None:
    source = SHARED / name
    if not source.is_file():
        pytest.skip(f"{name} is not there")
    path = tmp_path / f"table{''.join(source.suffixes[:1])}"
    if path.suffix == ".csv":
        with gzip.open(source, "rt", encoding="utf-8", newline="") as stream:
            rows = [row for row, _ in zip(csv.reader(stream), range(301), strict=False)]
        with path.open("w", encoding="utf-8", newline="") as out:
            csv.writer(out).writerows(rows)
        names = [one.strip() for one in rows[0]]
    else:
        table = pl.read_parquet(source, n_rows=300)
        table.write_parquet(path)
        names = table.columns
    settings = {"target": names[-1], **TABLES[name]}
    settings["target"] = settings["target"] if settings["target"] in names else names[-1]
    settings["kinds"] = {one: kind for one, kind in settings.get("kinds", {}).items() if one in names}
    texts = [one for one in names if one != settings["target"] and one not in settings["kinds"]]
    if name.startswith("text/"):
        settings["kinds"] |= dict.fromkeys(texts[:3], "categorical")
    trained = Trained(path, **settings)
    for door in DOORS:
        same(door(trained), trained.raw)
    alone(trained)
