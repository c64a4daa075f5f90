"""The same work on a Ray cluster: Ray Data deals the chunks to actors, each with its own predictor.

Every node must reach the registry, the public key, the input files and the output folder under the same paths.
Parquet and Arrow files only: each actor reads its own chunks.
"""

import logging
import os
import pickle
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any

from tidemill.bulk.inputs import Chunk, File
from tidemill.bulk.progress import say
from tidemill.bulk.worker import Done, Work, Worker
from tidemill.bundle.registry.registry import Registry
from tidemill.errors import SettingsError, SourceError, TidemillError
from tidemill.extras import install
from tidemill.serve.door import isolation
from tidemill.serve.on_ray import ingress, ray_start, ray_token

LOCAL = "local"
_STORE = 100 * 2**20  # bytes: rows do not pass through it


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
            remedy=install("bulk"),
        ) from error


def score(chunks: Iterator[Chunk], work: Work, workers: int, address: str) -> Generator[Done]:
    """
    Args:
        address: of the cluster ("auto", "ray://…"), or "local" for one that ends with the work.

    Raises:
        SettingsError: there is no such cluster.
        TidemillError: what an actor met.
    """
    os.environ.update(ingress.environment(haproxy=False))
    own: dict[str, Any] = {}
    if address == LOCAL:  # as in serving: on loopback, and with a token that nobody else has
        os.environ.update(ray_token.environment())
        own = {"include_dashboard": False, "num_cpus": workers, "object_store_memory": _STORE}
        own |= {"_node_ip_address": "127.0.0.1", "_temp_dir": str(isolation.session_folder())}
    if not address.startswith("ray://"):
        own["job_config"] = isolation.job()
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.WARNING)
    for name in ("ray.data._internal.progress", "ray._private.authentication"):  # what we asked for ourselves
        logging.getLogger(name).setLevel(logging.ERROR)
    actors_environment = {"env_vars": {"POLARS_MAX_THREADS": "1"}}

    def start() -> None:
        ray.init(address, configure_logging=False, log_to_driver=False, runtime_env=actors_environment, **own)

    if address == LOCAL:
        ray_start.started("Ray starts on this machine", start, ray.shutdown, say)
    else:
        try:
            start()
        except Exception as error:  # Ray raises no narrower one
            raise SettingsError(
                "--ray names a Ray that answers: auto, ray://HOST:PORT, HOST:PORT, or local for one of its own",
                observed=f"{address}: {ray_start.line(error)}",
                remedy="start it or correct the address, or leave --ray out",
            ) from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        todo = [{"chunk": pickle.dumps(chunk)} for chunk in chunks]
        if not todo:
            return
        dealt = ray.data.from_items(todo, override_num_blocks=len(todo))
        actors = ray.data.ActorPoolStrategy(size=min(workers, len(todo)))
        for row in dealt.map(_Actor, fn_constructor_args=(work,), compute=actors, num_cpus=1).iter_rows():
            done = pickle.loads(row["done"])
            if isinstance(done, TidemillError):
                raise done
            yield done
    except Exception as error:
        if isinstance(error, TidemillError) or not ray_start.is_rays(error):
            raise
        raise SettingsError(
            "A Ray cluster keeps its actors until the work is done",
            observed=f"{address}: {ray_start.line(error)}",
            remedy="if memory ran out: fewer --workers or a smaller --rows-per-part; then repeat the command to resume",
        ) from error
    finally:
        ray.shutdown()


class _Actor:
    """Errors that name a file or row come back as values: Ray would try again, and wrap them."""

    def __init__(self, work: Work) -> None:
        registry = Registry(work.model.registry)  # an object store's bundle is copied to each node, until it is loaded
        with registry.fetched(work.model.name, work.model.alias, verify=False) as bundle:
            self._worker = Worker(replace(work, bundle=bundle))

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"done": pickle.dumps(self._worker(pickle.loads(row["chunk"])))}
        except TidemillError as error:
            return {"done": pickle.dumps(error)}
