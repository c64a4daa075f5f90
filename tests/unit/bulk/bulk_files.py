"""Tables in every format that bulk scoring reads, the answers they must get, and the processes of a run."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from small_bundle import Small
from tidemill.bundle import checksums, manifest
from tidemill.bundle.predictor import Predictor
from tidemill.data.raw import from_table
from tidemill.data.schema import Column, Role
from tidemill.settings import Kind

OTHERS = (
    Column(name="id", kind=Kind.CATEGORICAL, role=Role.KEY),
    Column(name="sex", kind=Kind.CATEGORICAL, role=Role.SENSITIVE),
    Column(name="note", kind=Kind.CATEGORICAL, role=Role.IGNORED),
    Column(name="when", kind=Kind.TIMESTAMP, role=Role.TIME, format="%d.%m.%Y"),
)


def with_others(bundle: Path, place: Path) -> Path:
    """A copy of a bundle whose schema has columns that the model does not see."""
    shutil.copytree(bundle, place)
    described = manifest.read(place)
    schema = replace(described.schema, columns=(*described.schema.columns, *OTHERS))
    manifest.write(replace(described, interface=replace(described.interface, schema=schema.to_dict())), place)
    checksums.write(place)
    return place


FORMATS = ("parquet", "arrow", "arrows", "csv", "jsonl", "json", "csv.gz", "jsonl.gz")


def store(table: pl.DataFrame, path: Path) -> Path:
    """Write the table in the format that the path's ending says."""
    import gzip

    plain = path.with_suffix("") if path.suffix == ".gz" else path
    write: dict[str, Callable[..., object]] = {
        ".parquet": table.write_parquet,
        ".arrow": table.write_ipc,
        ".arrows": table.write_ipc_stream,
        ".csv": table.write_csv,
        ".jsonl": table.write_ndjson,
        ".json": table.write_json,
    }
    write[plain.suffix](plain)
    if plain != path:
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    return path


def answers_of(small: Small, table: pl.DataFrame) -> dict[str, np.ndarray]:
    predictor = Predictor(small.folder, threads=1)
    return predictor.predict(from_table(table, predictor.columns))


def children(parent: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
