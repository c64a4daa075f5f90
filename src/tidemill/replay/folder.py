"""The folder of a replay: its own from beginning to end, and free again where it has sent nothing."""

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tidemill.errors import ReplayError, listed

MARK = "nothing-sent"
_OURS = ("registry", "first", "logs", "policy.yaml", "before.parquet")
"""What there is before anything is sent."""


@contextmanager
def claimed(folder: Path) -> Iterator[Callable[[], None]]:
    """Hold the folder while the block lasts. What an earlier replay left that has sent nothing is removed first.

    Yields:
        To be called before the first record is sent: from then on the folder stays as it is.

    Raises:
        ReplayError: it holds something else, or another replay holds it.
    """
    mark = folder / MARK
    if folder.exists() and any(folder.iterdir()) and not mark.is_file():
        raise ReplayError(
            "A replay needs a new or empty folder, or that of a replay which has sent nothing",
            observed=f"{folder} holds {listed(sorted(entry.name for entry in folder.iterdir()))}",
            remedy="name another one with --folder, or remove it",
        )
    folder.mkdir(parents=True, exist_ok=True)
    with mark.open("a") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ReplayError(
                "A replay has a folder of its own",
                observed=f"another one is at work in {folder}",
                remedy="name another one with --folder, or wait for its end",
            ) from None
        for name in _OURS:
            _remove(folder / name)
        yield lambda: mark.unlink(missing_ok=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
