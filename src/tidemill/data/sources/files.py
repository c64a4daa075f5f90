"""Tables in files: CSV, Parquet, Arrow IPC, JSON Lines and Delta; one file, a folder, a glob or a URL.

Everything is scanned lazily: columns and rows that are not needed are not read, where the format allows it.
"""

import difflib
import json
from collections.abc import Callable
from pathlib import Path

import polars as pl

from tidemill.composition import build
from tidemill.data.reading import reading
from tidemill.data.sources import _delimited, _json, _partitions
from tidemill.data.sources._delimited import Options as Options
from tidemill.errors import SettingsError, SourceError, listed
from tidemill.settings import DataSettings

ENDINGS = {
    "csv": (".csv", ".tsv", ".tab", ".psv", ".txt", ".dat"),
    "parquet": (".parquet", ".pq"),
    "arrow": (".arrow", ".feather", ".ipc", ".arrows"),
    "jsonl": (".jsonl", ".ndjson", ".json"),
}
COMPRESSED = (".gz", ".zst")
_PACKED = {
    (".zip",): "unzip it: python -m zipfile -e {file} FOLDER, then data.path=FOLDER",
    (".tar", ".tgz"): "unpack it: tar -xf {file}, then name the file or folder",
    (".bz2",): "unpack it: bunzip2 {file}, then name the file without .bz2",
    (".xz",): "unpack it: unxz {file}, then name the file without .xz",
    (".7z", ".rar"): "unpack it, then name the file or folder",
    (".xlsx", ".xls", ".ods"): "save the sheet as CSV (UTF-8), then name that file",
}
"""What cannot be read as it is, by its endings, and how it becomes what can."""


def read(settings: DataSettings) -> pl.LazyFrame:
    """The table at `data.path`, in `data.format`; `data.options` are for CSV.

    Raises:
        SettingsError: an unknown format or option.
        SourceError: nothing is there, it is empty, not a table, or its files have different columns.
    """
    options = build(Options, settings.options, "data.options")
    _check(settings)
    return table(settings.path or "", settings.format, options)


def table(path: str, kind: str, options: Options) -> pl.LazyFrame:
    """As `read`. kind: `data.format`."""
    if kind == "delta" or (kind == "auto" and _is_delta(path)):
        return _delta(path)
    paths = _files(path)
    kinds = {file: _format(file, kind) for file in paths}
    if len(set(kinds.values())) > 1:
        shown = listed((f"{Path(file).name} ({kind})" for file, kind in kinds.items()), 5)
        raise SourceError(
            "All files of one table must have one format",
            observed=f"{path}: {shown}",
            remedy="narrow data.path with a glob, like folder/*.csv",
        )
    scan = SCANS[kinds[paths[0]]]
    in_folders = _partitions.columns(paths)
    _partitions.report(in_folders)
    frames = []
    for file, values in zip(paths, in_folders, strict=True):
        with reading(file):
            frames.append(_partitions.add(scan(file, options), values))
    return frames[0] if len(frames) == 1 else _joined(paths, frames)


def pandas_index(settings: DataSettings) -> list[str]:
    """Columns of a Parquet file that pandas stored as its index of rows, by what pandas wrote into the file.

    The first file of a folder speaks for all.
    """
    path = settings.path or ""
    if (
        settings.source != "files"
        or not path
        or _remote(path)
        or settings.format not in ("auto", "parquet")
        or _is_delta(path)
    ):
        return []
    first = _files(path)[0]
    if _begins(first, 4) != b"PAR1":
        return []
    about = json.loads(pl.read_parquet_metadata(first).get("pandas", "{}"))
    return [name for name in about.get("index_columns", []) if isinstance(name, str)]


def _check(settings: DataSettings) -> None:
    formats = ("auto", *ENDINGS, "delta")
    if settings.format not in formats:
        near = difflib.get_close_matches(settings.format, formats, n=1)
        raise SettingsError(
            f"data.format must be one of {', '.join(formats)}",
            observed=repr(settings.format),
            remedy=f"set data.format={near[0] if near else 'auto'}",
        )
    if not settings.path:
        raise SettingsError(
            "data.path must name a file, folder, glob or URL when data.source is files",
            observed=repr(settings.path),
            remedy="set data.path=FILE",
        )


def _remote(path: str) -> bool:
    return "://" in path


def _is_delta(path: str) -> bool:
    return not _remote(path) and (Path(path) / "_delta_log").is_dir()


def _files(path: str) -> list[str]:
    """Every file that `path` means, sorted; a URL stands for itself."""
    if _remote(path):
        return [path]
    local = Path(path).expanduser()
    if local.is_dir():
        known = tuple(ending for endings in ENDINGS.values() for ending in endings)
        hidden = (".", "_")
        found = sorted(
            file
            for file in local.rglob("*")
            if file.is_file()
            and _plain_name(file.name).endswith(known)
            and not any(part.startswith(hidden) for part in file.relative_to(local).parts)
        )
        rule, observed = "A folder must hold files of a known format", f"no {', '.join(known)} in {path}"
    elif not local.is_file() and any(character in path for character in "*?["):
        anchor = Path(local.anchor) if local.is_absolute() else Path()
        found = sorted(file for file in anchor.glob(str(local.relative_to(local.anchor))) if file.is_file())
        rule, observed = "A glob must match at least one file", f"{path} matches none"
    else:
        return [existing_file(path, "data.path")]
    if not found:
        raise SourceError(rule, observed=observed, remedy="correct data.path")
    return [_not_empty(file) for file in found]


def _not_empty(file: Path) -> str:
    if file.stat().st_size == 0:
        raise SourceError("A file must hold a table", observed=f"{file} is empty (0 bytes)", remedy="fill or remove it")
    return str(file)


def existing_file(path: str, key: str) -> str:
    """`path`, if a file is there that is not empty; `key` is the setting that names it."""
    local = Path(path).expanduser()
    if not local.is_file():
        raise SourceError(f"{key} must exist", observed=f"no file {path}", remedy=_nearest(local, key))
    return _not_empty(local)


def _nearest(path: Path, key: str) -> str:
    """What exists and is most like `path`, as a remedy."""
    folder = path.parent
    while not folder.is_dir():
        path, folder = folder, folder.parent
    near = difflib.get_close_matches(path.name, [entry.name for entry in folder.iterdir()], n=1, cutoff=0.4)
    if near:
        return f"correct {key}; did you mean {folder / near[0]}?"
    return f"correct {key}; the nearest folder that exists is {folder.resolve()}"


def _plain_name(name: str) -> str:
    name = name.lower()
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    return name


def _format(file: str, setting: str) -> str:
    if setting != "auto":
        return setting
    name = _plain_name(file.split("?")[0])
    for kind, endings in ENDINGS.items():
        if name.endswith(endings):
            return kind
    for endings, remedy in _PACKED.items():
        if name.endswith(endings):
            raise SourceError(
                "A file must be in a format that can be read as it is",
                observed=file,
                remedy=remedy.format(file=Path(file).name),
            )
    raise SourceError(
        f"The format must be known by the file's ending ({', '.join(e for all_ in ENDINGS.values() for e in all_)})",
        observed=file,
        remedy=f"set data.format to one of {', '.join(ENDINGS)}, delta",
    )


def _begins(file: str, count: int = 8) -> bytes:
    with Path(file).open("rb") as stream:
        return stream.read(count)


def _parquet(file: str, options: Options) -> pl.LazyFrame:
    if not _remote(file) and _begins(file, 4) != b"PAR1":
        raise _not_a_table(file, "Parquet")
    return pl.scan_parquet(file, glob=_remote(file))


def _arrow(file: str, options: Options) -> pl.LazyFrame:
    if _remote(file) or _begins(file, 6) == b"ARROW1":
        return pl.scan_ipc(file)
    if _begins(file, 4) == b"\xff\xff\xff\xff":
        return pl.read_ipc_stream(file).lazy()
    raise _not_a_table(file, "Arrow IPC")


def _jsonl(file: str, options: Options) -> pl.LazyFrame:
    if not _remote(file) and not file.endswith(COMPRESSED):
        head = _begins(file, 4096).removeprefix(b"\xef\xbb\xbf").lstrip()
        if head.startswith(b"["):
            return _json.array(file).lazy()
        if not head.startswith(b"{"):
            raise _not_a_table(file, "JSON Lines")
    with _json.faults_named(file):
        frame = pl.scan_ndjson(file, infer_schema_length=None)
        frame.collect_schema()  # looks at every line
        return frame


def _delta(path: str) -> pl.LazyFrame:
    if not _remote(path) and not _is_delta(path):
        raise _not_a_table(path, "Delta (no folder _delta_log in it)")
    return pl.scan_delta(path)


def _not_a_table(file: str, kind: str) -> SourceError:
    return SourceError(
        "A file must hold what its ending or data.format says",
        observed=f"{file} is not {kind}",
        remedy="set data.format, or give the file the right ending",
    )


def _joined(paths: list[str], frames: list[pl.LazyFrame]) -> pl.LazyFrame:
    """One below the other; columns are matched by name, whole numbers widen to floats."""
    names = frames[0].collect_schema().names()
    for path, frame in zip(paths, frames, strict=True):
        found = frame.collect_schema().names()
        if set(found) != set(names):
            odd = sorted(set(found) ^ set(names))
            raise SourceError(
                "All files of one table must have the same columns",
                observed=f"{path} and {paths[0]} differ in {listed(odd, quoted=True)}",
                remedy="narrow data.path, or give the files the same columns",
            )
    return pl.concat([frame.select(names) for frame in frames], how="vertical_relaxed")


SCANS: dict[str, Callable[[str, Options], pl.LazyFrame]] = {
    "csv": _delimited.scan,
    "parquet": _parquet,
    "arrow": _arrow,
    "jsonl": _jsonl,
}
