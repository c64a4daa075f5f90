"""One bulk run from files to parts: everything that can be wrong is looked at before the first row is scored."""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tidemill.bulk import cluster, inputs, pool, reading, recording, unseen
from tidemill.bulk.folder import Folder
from tidemill.bulk.inputs import Chunk, File
from tidemill.bulk.progress import Progress, say
from tidemill.bulk.reading import Reading
from tidemill.bulk.scoring import references_of
from tidemill.bulk.unseen import Unseen
from tidemill.bulk.worker import Model, Work
from tidemill.bundle import checksums, manifest, signing
from tidemill.bundle.folder import PROFILE
from tidemill.bundle.registry.registry import Registry
from tidemill.errors import SettingsError

FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """inputs: files, folders, globs, URLs. keep: columns to copy; None for the key. on_error: fail or quarantine.

    ledger: folder or URL of the ledger that records the answers; None: none does.
    """

    inputs: tuple[str, ...]
    output: Path
    rows_per_part: int = 100_000
    keep: tuple[str, ...] | None = None
    on_error: str = "fail"
    ledger: str | None = None


def run(model: Model, job: Job, *, workers: int, ray: str | None = None) -> dict[str, Any]:
    """Score what is not scored yet; returns the summary that `_SUCCESS` holds.

    Args:
        workers: processes, or actors on the Ray cluster at `ray` ("local" starts one here).

    Raises:
        TidemillError: before any work where that can be; parts that are finished stay, and are not done again.
    """
    registry = Registry(model.registry)
    version = registry.resolve(model.name, model.alias)
    with _bundle(registry, model, version) as bundle:
        return _scored(model, version, bundle, job, workers, ray)


@contextmanager
def _bundle(registry: Registry, model: Model, version: str) -> Iterator[Path]:
    """The version's files, verified before anything in them is parsed; if by a signature, a private copy."""
    key = model.public_key
    with (
        registry.fetched(model.name, version, verify=key is None) as folder,
        signing.verified(folder, key) if key else nullcontext(folder) as files,
    ):
        yield files


def _check_output(output: Path) -> None:
    if output.suffix.lower() in (".csv", ".json", ".jsonl", ".parquet", ".arrow") and not output.exists():
        raise SettingsError(
            "Answers are written into a folder, as Parquet files",
            observed=f"--output {output}, the name of a file",
            remedy=f"name a folder, like --output {output.with_suffix('')}; "
            f"polars.read_parquet('{output.with_suffix('')}/part-*.parquet') reads all of it",
        )


def _scored(model: Model, version: str, bundle: Path, job: Job, workers: int, ray: str | None) -> dict[str, Any]:
    described = manifest.read(bundle)
    _check_output(job.output)
    paths = _files(job)
    looked = (inputs.look(path, number) for number, path in enumerate(paths))
    answers = [*reading.answer_columns(described.identity.classes), *([recording.ID] if job.ledger else [])]
    settled = reading.settle(looked, described.schema, job.keep, answers)
    if ray is not None:
        cluster.check(settled.files)
    folder = Folder(job.output.expanduser().absolute())
    this = _run(model.name, version, bundle, paths, job)
    record = None
    if job.ledger:
        desired = Registry(model.registry).desired(model.name)
        record = recording.prepare(job.ledger, described, desired, this["inputs"], job.rows_per_part)
    with closing(folder.claim(this)):
        if (summary := folder.summary()) is not None:
            say(f"{folder.path} is complete already")
            return summary
        done = folder.done()
        if done:
            say(f"Resuming: {len(done):,} parts are done")
        recorded = 0
        work = Work(
            model=replace(
                model,
                registry=model.registry if "://" in model.registry else str(Path(model.registry).absolute()),
                alias=version,
                public_key=model.public_key and model.public_key.absolute(),
            ),
            bundle=bundle,
            output=folder.path,
            kept=settled.kept,
            quarantine=job.on_error == "quarantine",
            recording=record,
        )
        others = [column.name for column in recording.others(record.version)] if record else []
        chunks = _chunks(settled, job.rows_per_part, done, others)
        began = time.monotonic()
        progress = Progress(
            _total(settled.files, job.rows_per_part, done), exact=all(file.sliced for file in settled.files)
        )
        found: dict[str, Unseen] = {}
        try:
            scored = cluster.score(chunks, work, workers, ray) if ray else pool.score(chunks, work, workers)
            with closing(scored):
                for part in scored:
                    progress.add(part.answered + part.quarantined)
                    found = unseen.together(found, part.unseen)
                    recorded += part.recorded
        finally:
            progress.end()
        answered, quarantined = folder.rows()
        profile = json.loads((bundle / PROFILE).read_bytes())
        for warning in unseen.warnings(found, references_of(described, profile)):
            say(warning)
        summary = {
            "model": model.name,
            "version": version,
            "files": len(settled.files),
            "parts": len(folder.done()),
            "rows": answered,
            "quarantined": quarantined,
            "unseen": {name: round(one.share, 4) for name, one in found.items() if one.unseen},
            **({"ledger": job.ledger, "recorded": recorded} if job.ledger else {}),
            "seconds": round(time.monotonic() - began, 3),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        folder.finish(summary)
        return summary


def _files(job: Job) -> list[str]:
    output = job.output.expanduser().resolve()
    for given in job.inputs:
        if "://" not in given and Path(given).expanduser().is_dir():
            within = Path(given).expanduser().resolve()
            if output.is_relative_to(within):
                raise SettingsError(
                    "--output lies outside of the folders that are read",
                    observed=f"{job.output} is in {given}",
                    remedy="choose another folder, or name the files of this one by a glob",
                )
    return inputs.find(job.inputs)


def _run(name: str, version: str, bundle: Path, paths: list[str], job: Job) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "model": name,
        "version": version,
        "bundle": hashlib.sha256((bundle / checksums.NAME).read_bytes()).hexdigest(),
        "rows_per_part": job.rows_per_part,
        "keep": None if job.keep is None else list(job.keep),
        "inputs": [inputs.fingerprint(path) for path in paths],
        **({"ledger": job.ledger} if job.ledger else {}),  # absent from runs of earlier releases, which can be resumed
    }


def _chunks(settled: Reading, rows: int, done: set[tuple[int, int]], others: Sequence[str] = ()) -> Iterator[Chunk]:
    """What is not done yet. A file that can be read from its beginning only is read past the parts that are.

    Args:
        others: columns that are read where a file has them.
    """
    for file, schema in zip(settled.files, settled.schemas, strict=True):
        there = [name for name in others if name in file.head.columns]
        columns = dict.fromkeys([*(column.name for column in schema.columns), *settled.kept, *there])
        start = 0
        while (file.number, start) in done:
            start += 1
        for chunk in inputs.chunks(file, list(columns), schema, rows, start):
            if (chunk.file, chunk.number) not in done:
                yield chunk


def _total(files: Sequence[File], rows: int, done: set[tuple[int, int]]) -> float | None:
    """Rows to come; parts that are done count as full ones."""
    expected = [file.about for file in files]
    if any(about is None for about in expected):
        return None
    finished = [rows * sum(number == file.number for number, _ in done) for file in files]
    return sum(max(about - ready, 0.0) for about, ready in zip(expected, finished, strict=True) if about is not None)
