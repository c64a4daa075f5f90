"""Tables in every format that bulk scoring reads."""

from collections.abc import Callable
from pathlib import Path

import polars as pl

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
