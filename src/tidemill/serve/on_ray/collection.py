"""Brings all replicas' metrics, or profiles, together by a small Ray actor: a thin wrapper of Ray around `scrape`.

The first replica that asks for the actor makes it and owns it; it ends with that replica, and the next one
to miss it makes another. While there is none a scrape shows the replica that it reached.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any

from tidemill.serve.on_ray.scrape import Board, merged

LOG = logging.getLogger("ray.serve")

_PATIENCE = 1.0  # seconds that a scrape waits for the others


class Collection:
    """One replica's part in it.

    Args:
        replica: its name, for the label.
        name: of all that belong together, like the application's.
        period: seconds between two tellings.
        merge: from what each replica told, by its name, to one text.
    """

    def __init__(
        self, replica: str, name: str, period: float = 2.0, merge: Callable[[Mapping[str, bytes]], bytes] = merged
    ) -> None:
        self._replica = replica
        self._name = f"tidemill-metrics-{name}"
        self._period = period
        self._merge = merge
        self._board: Any = None
        self._telling: asyncio.Task[None] | None = None

    def start(self, text: Callable[[], bytes]) -> None:
        """Tell the others from now on what `text` gives."""
        self._telling = asyncio.get_running_loop().create_task(self._tell(text))

    async def collect(self, text: bytes) -> bytes:
        """What all replicas told; `text`: this one's."""
        others: dict[str, bytes] = {}
        with contextlib.suppress(Exception):  # `_call` has logged it
            others = await asyncio.wait_for(self._call("exchange", text), _PATIENCE)
        return await asyncio.to_thread(self._merge, {**others, self._replica: text})

    async def stop(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._telling

    async def _tell(self, text: Callable[[], bytes]) -> None:
        while True:
            with contextlib.suppress(Exception):
                await self._call("put", await asyncio.to_thread(text))
            await asyncio.sleep(self._period)

    async def _call(self, method: str, text: bytes) -> Any:
        if self._board is None:
            self._board = await asyncio.to_thread(self._found)
        board = self._board
        try:
            return await getattr(board, method).remote(self._replica, text)
        except Exception as error:
            LOG.info("Metrics of other replicas are not to be had now: %s", error)
            if self._board is board:
                self._board = None  # look for it anew, or make one
            raise

    def _found(self) -> Any:
        import ray

        return ray.remote(num_cpus=0)(Board).options(name=self._name, get_if_exists=True).remote()
