"""The same work on a Ray cluster: Ray Data deals the chunks to actors, each with its own predictor.

Every node must reach the bundle, the input files and the output folder under the same paths. Parquet and Arrow
files only: each actor reads its own chunks.
"""

import os
import pickle
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from tidemill.bulk.inputs import Chunk, File
from tidemill.bulk.worker import Done, Work, Worker
from tidemill.errors import SettingsError, SourceError, TidemillError

LOCAL = "local"


def check(files: Sequence[File]) -> None:
    """
    Raises:
        SourceError: a file whose chunks cannot be read by themselves.
        SettingsError: Ray Data is not installed.
    """
    for file in files:
        if not file.sliced:
            raise SourceError(
                "A Ray cluster scores Parquet and Arrow files, of which each actor reads its own rows",
                observed=file.path,
                remedy="leave --ray out, or store the table as Parquet",
            )
    try:
        import ray.data  # noqa: F401
    except ImportError as error:
        raise SettingsError(
            "Scoring on a Ray cluster needs Ray Data",
            observed=str(error),
            remedy="pip install 'tidemill[bulk]'",
        ) from error


def score(chunks: Iterator[Chunk], work: Work, workers: int, address: str) -> Generator[Done]:
    """
    Args:
        address: of the cluster ("auto", "ray://…"), or "local" for one that ends with the work.

    Raises:
        TidemillError: what an actor met.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    import ray.data

    ray.init(address, log_to_driver=False, configure_logging=False, ignore_reinit_error=True)
    try:
        todo = list(chunks)
        if not todo:
            return
        dealt = ray.data.from_items([{"chunk": pickle.dumps(chunk)} for chunk in todo], override_num_blocks=len(todo))
        scored = dealt.map(_Actor, fn_constructor_args=(work,), concurrency=min(workers, len(todo)), num_cpus=1)
        for row in scored.iter_rows():
            done = pickle.loads(row["done"])
            if isinstance(done, TidemillError):
                raise done
            yield done
    finally:
        ray.shutdown()


class _Actor:
    """Errors that name a file or row come back as values: Ray would try again, and wrap them."""

    def __init__(self, work: Work) -> None:
        self._worker = Worker(work)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"done": pickle.dumps(self._worker(pickle.loads(row["chunk"])))}
        except TidemillError as error:
            return {"done": pickle.dumps(error)}
