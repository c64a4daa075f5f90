"""Notices: decisions and new alarms of severity harm, in the log and to a webhook."""

import contextlib
import http.client
import json
import logging
import queue
import threading
import urllib.request
from dataclasses import asdict
from typing import Any

from tidemill.steward.book import Decision
from tidemill.steward.watch import Reading

LOG = logging.getLogger(__name__)

_ATTEMPTS, _PAUSE, _PATIENCE = 4, 2.0, 5.0  # tries, seconds before the second one (doubled each time), seconds of each
_WAITING = 1000


class Notices:
    """Sends on a thread of its own: a webhook that is slow or down delays no decision; what it never takes is logged.

    Args:
        webhook: an http(s) URL that takes JSON by POST; None: the log alone.
    """

    def __init__(self, model: str, webhook: str | None) -> None:
        self._model, self._webhook = model, webhook
        self._waiting: queue.Queue[dict[str, Any] | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._send_all, name="tidemill-notices", daemon=True)
        self._ended = threading.Event()
        if webhook is not None:
            self._thread.start()

    def decided(self, decision: Decision) -> None:
        subject = f" version {decision.version}" if decision.version else ""
        command = f"tidemill steward approve {decision.number} --model {self._model}"
        proposed = f" (waits for: {command})" if decision.proposed else ""
        LOG.info("Decision %d: %s%s%s. %s", decision.number, decision.kind, subject, proposed, decision.reason)
        self._put("decision", asdict(decision))

    def alarmed(self, reading: Reading) -> None:
        about = f"{reading.check} {reading.subject}".strip()
        LOG.warning("Alarm: %s. %s Remedy: %s.", about, reading.says, reading.remedy)
        self._put("alarm", asdict(reading))

    def close(self, seconds: float = 10.0) -> None:
        """Send what waits, for at most so long."""
        if self._webhook is not None:
            self._ended.set()
            with contextlib.suppress(queue.Full):  # then none of those that wait finds the webhook in time
                self._waiting.put(None, timeout=seconds / 2)
            self._thread.join(seconds / 2)

    def _put(self, what: str, content: dict[str, Any]) -> None:
        if self._webhook is None:
            return
        try:
            self._waiting.put_nowait({"model": self._model, "what": what, what: content})
        except queue.Full:
            LOG.error("A notice was dropped: %d others wait for the webhook", _WAITING)

    def _send_all(self) -> None:
        while (notice := self._waiting.get()) is not None:
            self._send(json.dumps(notice, default=str).encode())

    def _send(self, body: bytes) -> None:
        assert self._webhook is not None
        headers = {"content-type": "application/json"}
        for attempt in range(_ATTEMPTS):
            try:
                request = urllib.request.Request(self._webhook, body, headers)
                with urllib.request.urlopen(request, timeout=_PATIENCE):
                    return
            except (OSError, http.client.HTTPException, ValueError) as error:
                if attempt == _ATTEMPTS - 1 or self._ended.wait(_PAUSE * 2**attempt):
                    LOG.error("The webhook did not take a notice: %s", error)
                    return
