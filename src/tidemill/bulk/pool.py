"""Worker processes on this machine, each with its own predictor, and chunks dealt to whichever is free.

Processes and not threads: making Python texts for ONNX Runtime holds the interpreter's lock.
"""

import contextlib
import multiprocessing
import os
from collections.abc import Generator, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from tidemill.bulk.inputs import Chunk
from tidemill.bulk.worker import Done, Work, serve
from tidemill.errors import SettingsError, TidemillError
from tidemill.stopping import deaf_to_interrupts


def score(chunks: Iterator[Chunk], work: Work, workers: int) -> Generator[Done]:
    """Deal the chunks; at most one for each worker and one more are in memory.

    Raises:
        TidemillError: what a worker met; the others are ended.
        SettingsError: a worker died.
    """
    with _started(work, workers) as processes:
        idle: list[Connection] = []
        busy = dict.fromkeys(processes, "its start")
        waiting = next(chunks, None)
        while busy or waiting is not None:
            for connection in wait(list(busy)) if busy else ():
                assert isinstance(connection, Connection)
                done = _received(connection, processes[connection], busy.pop(connection))
                idle.append(connection)
                if done is not None:
                    yield done
            while idle and waiting is not None:
                connection = idle.pop()
                busy[connection] = f"{waiting.path}, rows {waiting.first} and after"
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # seen when it is waited for
                    connection.send(waiting)
                waiting = next(chunks, None)


@contextlib.contextmanager
def _started(work: Work, workers: int) -> Iterator[dict[Connection, SpawnProcess]]:
    context = multiprocessing.get_context("spawn")
    processes: dict[Connection, SpawnProcess] = {}
    try:
        with _one_polars_thread(), deaf_to_interrupts(multiprocessing=True):
            for _ in range(workers):
                ours, theirs = context.Pipe()
                process = context.Process(target=serve, args=(theirs, work), daemon=True)
                process.start()
                theirs.close()  # so that the end of one side is seen by the other
                processes[ours] = process
        yield processes
    finally:
        for connection, process in processes.items():
            connection.close()
            process.terminate()
        for process in processes.values():
            process.join()


@contextlib.contextmanager
def _one_polars_thread() -> Iterator[None]:
    """Polars reads this where it is first imported, so in the processes that are started meanwhile."""
    name = "POLARS_MAX_THREADS"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


def _received(connection: Connection, process: SpawnProcess, task: str) -> Done | None:
    try:
        answer: Done | TidemillError | str | None = connection.recv()
    except (EOFError, ConnectionResetError) as error:
        process.join()
        raise SettingsError(
            "A worker process lives until the work is done",
            observed=f"one ended with exit status {process.exitcode} at {task}",
            remedy="if memory ran out: fewer --workers or a smaller --rows-per-part; then repeat the command to resume",
        ) from error
    if isinstance(answer, TidemillError):
        raise answer
    if isinstance(answer, str):
        raise RuntimeError(f"A worker failed at {task}\n{answer}")
    return answer
