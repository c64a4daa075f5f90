"""A ledger's folders: for their owner's eyes alone; a writer's appears with its lock held, or not at all."""

import contextlib
import fcntl
import os
import shutil
from pathlib import Path


def private(folder: Path) -> None:
    """Make a folder, and those above it that are missing, all of them readable by their owner alone.

    Inputs lie in them, whatever Delta's and other libraries' files inside are allowed. What is there already stays as
    it is: who made it has decided who may read it.
    """
    missing = [folder, *folder.parents]
    for place in reversed(missing[: next(i for i, one in enumerate(missing) if one.exists())]):
        place.mkdir(mode=0o700, exist_ok=True)


def claim(folder: Path, staged: Path, lock: str) -> int:
    """Make `folder` under the name of `staged` first, so that nobody sees it before its lock is held.

    Returns: the lock's descriptor.

    Raises:
        OSError: it cannot be made; nothing is left behind.
    """
    with contextlib.ExitStack() as undone:
        undone.callback(shutil.rmtree, staged, ignore_errors=True)
        staged.mkdir(mode=0o700)
        descriptor = os.open(staged / lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        undone.callback(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        staged.rename(folder)
        undone.pop_all()
    return descriptor
