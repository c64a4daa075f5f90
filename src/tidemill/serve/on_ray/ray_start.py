"""Starting Ray: what it raises then, in one line, and another try where the machine may only have been too busy.

Ray has no common class for its errors: processes that stay away are RuntimeErrors, ConnectionErrors or TimeoutErrors;
what its actors met is a RayError, whose text is a traceback of many lines.
"""

import logging
import re
import time
from collections.abc import Callable
from typing import TypeVar

from tidemill.errors import BundleError, TidemillError
from tidemill.serve.door import isolation

TRIES = 3
PAUSE = 3.0
"""Seconds before the second try, and twice as many before the third: others' work may have ended by then."""
_LONGEST = 400  # characters
_NAMED = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?:Error|Exception|Exit|Interrupt): .")
_ACTOR = re.compile(r"class_name: (\S+)")
_DETAIL = re.compile(r"(?:class_name|actor_id|pid|name|namespace|ip|node_id|label_selector): ")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_FOR_GOOD = ("RuntimeEnvSetupError", "AuthenticationError", "OutOfDiskError", "OutOfMemoryError")
LOG = logging.getLogger(__name__)
T = TypeVar("T")


def is_rays(error: BaseException) -> bool:
    """Whether Ray, or what it uses to reach its processes, raised this."""
    named = any(kind.__module__.split(".")[0] in ("ray", "grpc") for kind in type(error).__mro__)
    return named or isinstance(error, RuntimeError | OSError)


def may_pass(error: BaseException) -> bool:
    """Whether it may be otherwise a moment later: a process that died or was too slow, and not a wrong setting."""
    return is_rays(error) and not isinstance(error, FileNotFoundError) and type(error).__name__ not in _FOR_GOOD


def line(error: BaseException) -> str:
    """What an error of Ray's says, in one line: the cause that a traceback ends with, and whose it was."""
    actor = _ACTOR.search(str(error))
    whose = f" of {actor[1]}" if actor else ""
    name = type(error).__name__
    said = short(str(error)) or "nothing more is said"
    return said if name == "RuntimeError" or _NAMED.match(said) else f"{name}{whose}: {said}"


def short(text: str) -> str:
    """The cause that a traceback in a text ends with, or the text, in one line of bounded length."""
    lines = [line.strip() for line in _COLOURS.sub("", text).splitlines() if line.strip()]
    causes = [line for line in lines if _NAMED.match(line)]
    said = causes[-1] if causes else " ".join(line for line in lines if not _DETAIL.match(line))
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]} …"


def started(rule: str, start: Callable[[], T], again: Callable[[], None], say: Callable[[str], None]) -> T:
    """What `start` returns, of at most `TRIES` tries.

    Args:
        rule: what must hold, for the error.
        again: removes what a failed try has left.
        say: gets a line before each further try.

    Raises:
        BundleError: in one line what Ray said last.
    """
    for number in range(1, TRIES + 1):
        try:
            return start()
        except TidemillError:
            again()
            raise
        except Exception as error:
            LOG.debug("%s failed", rule, exc_info=True)
            again()
            if number == TRIES or not may_pass(error):
                raise failure(rule, error, number) from error
            seconds = PAUSE * number
            say(f"Ray did not start ({line(error)}). Try {number + 1} of {TRIES} in {seconds:.0f} s …")
            time.sleep(seconds)
        except BaseException:  # Ctrl-C
            again()
            raise
    raise AssertionError("the last try returns or raises")


def failure(rule: str, error: BaseException, tries: int = 1) -> BundleError:
    after = f" ({tries} tries)" if tries > 1 else ""
    logs = f"Ray's logs are under {isolation.session_folder()}/session_latest/logs, Serve's under serve there"
    remedy = f"try again when this machine has less to do; {logs}" if may_pass(error) else f"mend what it says; {logs}"
    return BundleError(rule, observed=f"{line(error)}{after}", remedy=remedy)
