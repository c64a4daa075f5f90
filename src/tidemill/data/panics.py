"""Panics of Polars: Rust writes of each to standard error by itself, with the stack, before Python knows of it.

No setting of Polars or of Rust turns that off. So standard error (the file descriptor: Rust knows no `sys.stderr`) is
kept back while Polars reads, and then shown without what Rust wrote of a panic, which becomes an error of ours. If the
process is killed meanwhile, what was kept back is lost.
"""

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from polars.exceptions import PanicException

_STDERR = 2
_TOLD = re.compile(rb"\n?thread '[^\n]*panicked at .*?(?:\nnote: [^\n]*(?:\n|\Z)|(?=\nthread ')|\Z)", re.DOTALL)


class _Kept:
    """Whether standard error is kept back by the main thread just now, and whether Polars has panicked meanwhile."""

    back = panicked = False


@contextmanager
def untold() -> Iterator[None]:
    """What Rust writes of a panic that ends this block is not shown; with `python -W default` it is.

    It works in the main thread alone. Blocks may lie in each other.
    """
    if threading.current_thread() is not threading.main_thread() or sys.warnoptions:
        yield
        return
    with ExitStack() as stack:
        if not _Kept.back:
            with suppress(OSError):  # without a standard error, or a place for a file, nothing can be kept back
                _keep_back(stack)
        try:
            yield
        except PanicException:
            _Kept.panicked = True
            raise


def _keep_back(stack: ExitStack) -> None:
    """Until `stack` is closed."""
    shown = os.dup(_STDERR)  # before a file is opened, which might get the number where there is no standard error
    stack.callback(os.close, shown)
    kept = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 — the stack closes it
    _flush()
    os.dup2(kept.fileno(), _STDERR)
    _Kept.back, _Kept.panicked = True, False

    def show() -> None:
        _flush()
        os.dup2(shown, _STDERR)
        _Kept.back = False
        kept.seek(0)
        text = kept.read()
        with suppress(OSError):  # whoever read it is gone
            os.write(shown, _TOLD.sub(b"", text) if _Kept.panicked else text)

    stack.callback(show)


def _flush() -> None:
    with suppress(OSError, ValueError, AttributeError):  # it is None where a program has no console
        sys.stderr.flush()
