"""What has come to a replica and is not answered yet, by HTTP and gRPC alike, and how answers and refusals count.

Both doors share one, so that a request has the same chances, and the same place in the metrics, by whichever it came.
"""

import contextlib
import time
from collections.abc import Callable, Iterator

from tidemill.errors import RequestError
from tidemill.serve.metrics import Metrics


class Traffic:
    """Of one replica; for its event loop only.

    Args:
        admit: is asked before a request for predictions is taken up, with the number of such requests in hand; raises
            RequestError where that is too many.
        refused: is told of each request that is not answered.
    """

    __slots__ = ("admit", "metrics", "ongoing", "predicting", "refused")

    def __init__(self, metrics: Metrics, admit: Callable[[int], None], refused: Callable[[RequestError], None]) -> None:
        self.metrics = metrics
        self.admit = admit
        self.refused = refused
        self.ongoing = 0
        self.predicting = 0
        """Requests: all of them; those for predictions, their bodies read."""

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
