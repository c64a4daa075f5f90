"""Start one process per device; figures and errors come back to this one."""

import os
import pickle
import signal
import socket
import sys
import tempfile
from pathlib import Path
from threading import Thread
from typing import Any

import torch.multiprocessing
from torch.multiprocessing.spawn import ProcessException, ProcessExitedException, start_processes

from tidemill.errors import TidemillError, TrainingError
from tidemill.stopping import deaf_to_interrupts
from tidemill.training import signals
from tidemill.training.job import Job
from tidemill.training.record import Log
from tidemill.training.signals import Flag, Request


def run(job: Job, log: Log) -> bool:
    """Run `job` here, or for several devices in as many processes that train one model together.

    Returns whether it ended because SIGUSR1 asked for it.

    Raises:
        TidemillError: whatever `job` raised in a process; and what `log` raised here, at the end.
        TrainingError: a process was killed.
    """
    if job.settings.devices == 1:
        flag = Flag()
        with signals.finishing(flag):
            job.run(log, flag)
        return flag.is_set()
    context = torch.multiprocessing.get_context("spawn")
    channel: Any = context.SimpleQueue()
    request = context.Event()
    errors: list[Exception] = []
    listener = Thread(target=_listen, args=(channel, log, errors), daemon=True)
    listener.start()
    try:
        # By file: torch would share tensors through /dev/shm, which containers keep at 64 MB, and what goes through
        # a pipe is waited for, even if the process died before it read any.
        with tempfile.NamedTemporaryFile() as file:
            pickle.dump(job, file)
            file.flush()
            with signals.finishing(request):
                _start(job.settings.devices, (file.name, _free_port(), channel, request))
    except ProcessException as error:
        _stop(channel, listener)
        if errors:
            raise errors[0] from None
        if isinstance(error, ProcessExitedException) and error.signal_name:
            raise TrainingError(
                "Every training process must live until the end",
                observed=f"process {error.error_index} was ended by {error.signal_name}",
                remedy="if memory ran out, lower training.devices or training.batch_size; "
                f"go on with training.resume={job.record.folder}",
            ) from error
        raise
    _stop(channel, listener)
    if errors:
        raise errors[0]
    return bool(request.is_set())


def _start(count: int, arguments: tuple[Any, ...]) -> None:
    """Start the processes and wait for them; if this one is stopped, they are as well."""
    with deaf_to_interrupts(multiprocessing=True):
        started: Any = start_processes(  # type: ignore[no-untyped-call]
            _process, args=arguments, nprocs=count, join=False, start_method="spawn"
        )
    try:
        while not started.join():
            pass
    except KeyboardInterrupt:  # SIGTERM comes to this process alone
        for process in started.processes:
            process.kill()
        raise


def _process(rank: int, file: str, port: int, channel: Any, request: Request) -> None:
    if signals.NUMBER is not None:
        signal.signal(signals.NUMBER, signal.SIG_IGN)  # whoever asks asks the process that started this one
    # These variables tell Lightning that its processes have been started already.
    os.environ.update(LOCAL_RANK=str(rank), NODE_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    job: Job = pickle.loads(Path(file).read_bytes())
    try:
        job.run(lambda figures, step: channel.put((figures, step)), request)
    except TidemillError as error:
        channel.put(error)
        sys.exit(1)
    # All is said and written. An orderly end would run the destructors of torch's process group, which now and then
    # abort ("terminate called without an active exception") and turn a finished training into a failed one.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _listen(channel: Any, log: Log, errors: list[Exception]) -> None:
    while (item := channel.get()) is not None:
        if isinstance(item, TidemillError):
            errors.append(item)
        elif not errors:
            try:
                log(*item)
            except Exception as error:  # go on reading, or the processes would wait for ever
                errors.append(error)


def _stop(channel: Any, listener: Thread) -> None:
    channel.put(None)
    listener.join()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
