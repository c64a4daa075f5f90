"""What libraries say while we use them: kept for whoever looks into a run, and not put before who waits for it.

A warning of NumPy's or Lightning's is for the code that called it, ours; the tests make an error of each. A user can do
nothing about it, and what a user should know of the data or the model is a finding or an error of our own.
`python -W default train.py …`, or PYTHONWARNINGS, shows them all the same.
"""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tidemill import secrets

LOG = logging.getLogger(__name__)
FILE = "libraries.log"


class _Masked(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return secrets.mask(super().format(record))


@contextmanager
def kept_in(folder: Path) -> Iterator[None]:
    """Warnings, and log lines below an error, go to `libraries.log` in `folder`; without any there is no file."""
    if sys.warnoptions:
        yield
        return
    file = logging.FileHandler(folder / FILE, encoding="utf-8", delay=True)
    file.setFormatter(_Masked("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    consoles = [(handler, handler.level) for handler in root.handlers if type(handler) is logging.StreamHandler]
    for handler, _ in consoles:
        handler.setLevel(logging.ERROR)
    root.addHandler(file)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.removeHandler(file)
        file.close()
        for handler, level in consoles:
            handler.setLevel(level)
        if (folder / FILE).is_file():
            LOG.info("What libraries warned of is kept in %s", folder / FILE)


@contextmanager
def shown() -> Iterator[None]:
    """Our own progress and warnings on standard output, line by line, unless the program shows its log itself."""
    own = logging.getLogger("tidemill")
    if own.hasHandlers():
        yield
        return
    handler, level = logging.StreamHandler(sys.stdout), own.level
    own.addHandler(handler)
    own.setLevel(logging.INFO)
    try:
        yield
    finally:
        own.removeHandler(handler)
        own.setLevel(level)


def unheard() -> None:
    """For a command that has no folder: from now on, this process shows no warnings."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
