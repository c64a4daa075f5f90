"""Files that are there whole or not at all, not after a power cut either."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(target: Path, prefix: str = ".staged-", mode: int = 0o666) -> Iterator[Path]:
    """A new file beside `target` that takes its place when the block ends well, and goes otherwise.

    Args:
        prefix: of its name, by which one that a kill leaves can be found.
        mode: who may read it, and so `target`.
    """
    staged = target.with_name(f"{prefix}{uuid.uuid4().hex}")
    try:
        staged.touch(mode)
        yield staged
        sync(staged)
        staged.replace(target)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    sync(target.parent)


def sync(path: Path) -> None:
    """Force a file's content, or a folder's names, onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
