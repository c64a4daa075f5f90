"""How a job ends that did not go well: what a person reads instead of a traceback, and the exit status."""

import contextlib
import errno
import logging
import os
import re
import shlex
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from tidemill import secrets
from tidemill.composition import nearest_key
from tidemill.errors import SettingsError, TidemillError
from tidemill.settings import known_keys
from tidemill.settings.training import CHECKPOINT
from tidemill.training.sweep import RESULT

LOG = logging.getLogger(__name__)

INTERRUPTED = 130
NOTES = ".hydra"
"""What Hydra writes into a run's folder before the run begins."""
_PLACES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR)
"""What file systems refuse for reasons that the user can mend."""


@contextmanager
def told(command: str, folder: Path | None = None) -> Iterator[None]:
    """Whatever ends the block ends the process, with its message on stderr and no secret in it.

    Args:
        command: that started the job.
        folder: the run's, to be named when the run was stopped by Ctrl-C or SIGTERM and can go on.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of ending the process, so that we can explain
    with _interruptions() as interruptions:
        try:
            yield
        except BrokenPipeError:  # whoever read our output has stopped reading, like `head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(INTERRUPTED)
        except SystemExit:
            raise
        except BaseException as error:  # a panic of Polars is no Exception
            _remove_empty(folder)
            if not interruptions and not isinstance(error, KeyboardInterrupt):
                sys.exit(explain(error))  # Hydra would repeat the whole command line before it
            sys.stderr.write(f"\n{_stopped(command, folder)}\n")
            sys.exit(128 + interruptions[0] if interruptions else INTERRUPTED)


def _remove_empty(folder: Path | None) -> None:
    """A run's folder that holds nothing but Hydra's notes, and empty ones around it inside the current folder."""
    if folder is None or not folder.is_dir() or {path.name for path in folder.iterdir()} - {NOTES}:
        return
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        for parent in folder.parents:
            if Path.cwd() not in parent.parents:
                break
            parent.rmdir()


@contextmanager
def _interruptions() -> Iterator[list[int]]:
    """Grows with each Ctrl-C and SIGTERM, which both interrupt. Extension modules may lose the KeyboardInterrupt and
    raise an error of their own in its place: Polars was seen to call a type that it was reading just then no type."""
    seen: list[int] = []
    usual = (signal.default_int_handler, signal.SIG_DFL)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    ours = {n for n, handler in before.items() if handler in usual or getattr(handler, "__module__", "") == __name__}
    if threading.current_thread() is not threading.main_thread():
        ours = set()

    def interrupt(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        signal.default_int_handler(number, frame)

    for number in ours:
        signal.signal(number, interrupt)
    try:
        yield seen
    finally:
        for number in ours:
            signal.signal(number, before[number])


def _stopped(command: str, folder: Path | None) -> str:
    if folder is not None and (folder / RESULT).is_file():
        return "Stopped after the version was registered; only what a tracker was still to be told is missing."
    if folder is None or not (folder / CHECKPOINT).is_file():
        nothing = "Stopped before the end of an epoch, so there is nothing to go on from. The registry is as it was."
        return nothing if folder is None else f"{nothing} Begin again:\n  {command}"
    words = [word for word in shlex.split(command) if not word.startswith("training.resume=")]
    again = shlex.join([*words, f"training.resume={folder}"])
    return f"Stopped. The registry is as it was. Go on where the run left off:\n  {again}"


def explain(error: BaseException) -> str:
    """What a person should read when a job ends with `error`; for a fault of ours, its traceback."""
    error = mendable(error)
    if isinstance(error, TidemillError):
        return secrets.mask(error.on_console())
    shown = "".join(traceback.format_exception(error))
    return secrets.mask(f"{shown}This is a fault of Tidemill's, not of your settings or data; please report it.")


def mendable(error: BaseException) -> BaseException:
    """The same as a TidemillError, where the user can mend it; any other error as it is.

    Hydra and OmegaConf refuse a mistyped key while they compose, before `composition.build` can see it: their
    message becomes ours, with the nearest valid key.
    """
    if isinstance(error, OSError) and error.errno in _PLACES:
        return _refused(error)
    if type(error).__module__.startswith(("hydra.", "omegaconf.")):
        return _not_composed(error)
    return error


def _refused(error: OSError) -> TidemillError:
    place = error.filename or "a file of the run"
    return TidemillError(
        "The run's folder, and every file that is named, can be read and written",
        observed=f"{place}: {error.strerror}",
        remedy="make room or give permission there, or choose another hydra.run.dir; the registry is as it was",
    )


def _not_composed(error: BaseException) -> SettingsError:
    text = re.sub(r"\s*(To append to your config|Config search path:).*", "", str(error), flags=re.DOTALL).strip()
    if found := re.search(r"Could not find '(.+)/([^/']+)'\s+Available options in '[^']+':\s+(.*)", text, re.DOTALL):
        group, name, there = found[1], found[2], found[3].split()
        near = nearest_key(name, there)
        text = f"no {group}={name}; there are {', '.join(there)}"
        remedy = f"write {group}={near}" if near else f"choose one of them, like {group}={there[0]}"
    elif found := re.search(r"\s*To append to your default list use (\S+)", text):
        text, remedy = text[: found.start()], f"write {found[1]}"
    elif "override_grammar" in text:
        text = re.sub(r"^LexerNoViableAltException: ", "cannot read ", text.split("\n")[0])
        remedy = "quote a value that is not plain, for the shell and for Hydra: \"data.path='my table.csv'\""
    elif found := re.search(r"Interpolation key '(.+)' not found", text):
        text, remedy = found[0], f"a column of that name is written with a backslash: 'data.target=\\${{{found[1]}}}'"
    elif found := re.search(r"Environment variable '(.+)' not found", text):
        text, remedy = found[0], f"set {found[1]}, or write the value in its place"
    else:
        match = re.search(r"full_key: (\S+)", text) or re.search(r"override '([^'=]+)'", text)
        near = nearest_key(match[1], known_keys(match[1])) if match else None
        if match and near is not None and near == match[1]:  # what one model has, another may lack
            remedy = f"leave {near} out, or choose the {near.split('.')[0]} that has it"
        else:
            remedy = f"write {near}" if near else "`python train.py --help` shows what there is"
    return SettingsError("Settings must compose", observed=text, remedy=remedy)
