"""What has come to a replica and is not answered yet, by HTTP and gRPC alike, and how answers and refusals count.

Both doors share one, so that a request has the same chances, and the same place in the metrics, by whichever it came.
"""

import contextlib
import time
from collections.abc import Callable, Iterator

from tidemill.errors import RequestError
from tidemill.serve.hooks.metrics import Metrics
from tidemill.serve.wire.refusals import overloaded

LONG = 2**16
"""Bytes: bodies up to this are not counted, as the server has so much of each connection in its own hands anyway."""


class Traffic:
    """Of one replica; for its event loop only.

    Args:
        admit: is asked before a request for predictions is taken up, with the number of such requests in hand; raises
            RequestError where that is too many.
        refused: is told of each request that is not answered.
        most: bytes of long bodies, see `Limits.held`.
    """

    __slots__ = ("_most", "admit", "held", "metrics", "ongoing", "predicting", "refused")

    def __init__(
        self, metrics: Metrics, admit: Callable[[int], None], refused: Callable[[RequestError], None], most: int
    ) -> None:
        self.metrics = metrics
        self.admit = admit
        self.refused = refused
        self._most = most
        self.ongoing = 0
        self.predicting = 0
        self.held = 0
        """Requests: all of them; those for predictions, their bodies read. Bytes of bodies that are `LONG`."""

    def hold(self, before: int, now: int) -> int:
        """Count a long body as `now` bytes, instead of `before`; one alone is taken, whatever it holds. Returns `now`.

        Raises:
            RequestError: 503, with the others' it would be too much.
        """
        others = self.held - before
        if others and others + now > self._most:
            rule = f"A replica has at most {self._most} bytes of bodies longer than {LONG} bytes in hand"
            raise overloaded(rule, f"{others} bytes, and {now} more", 1)
        self.held = others + now
        return now

    @contextlib.contextmanager
    def call(self, path: str) -> Iterator[None]:
        """Count what is done within as one call; who gives it up, by cancelling, is not counted as answered."""
        begun, status = time.monotonic(), 0
        self.ongoing += 1
        try:
            yield
            status = 200
        except RequestError as error:
            status = error.status
            self.refused(error)
            raise
        except Exception:
            status = 500
            raise
        finally:
            self.ongoing -= 1
            if status:
                self.metrics.answered(path, status, time.monotonic() - begun)

    @contextlib.contextmanager
    def prediction(self) -> Iterator[None]:
        """Hold a place of those for predictions.

        Raises:
            RequestError: 503, there is none.
        """
        self.admit(self.predicting + 1)
        self.predicting += 1
        try:
            yield
        finally:
            self.predicting -= 1
