"""Upkeep of a ledger's tables: small files become large ones, days too old and files out of use go. Never fatal."""

import logging
import time
from datetime import UTC, datetime, timedelta

from tidemill.ledger.commits import Table
from tidemill.ledger.settings import LedgerSettings

_DAY = 86_400.0  # seconds
_KEEP_FILES = 24
"""Hours that files out of use stay for those who are still reading them."""
LOG = logging.getLogger(__name__)


class Upkeep:
    """What one table needs now and then."""

    def __init__(self, table: Table, settings: LedgerSettings) -> None:
        self._table, self._settings = table, settings
        self._compacted = table.commits
        self._swept = float("-inf")

    def run(self) -> None:
        """Do what is due; a failure is logged, and tried again when the next is due."""
        due = self._table.commits - self._compacted >= self._settings.compact_every
        daily = time.monotonic() - self._swept >= _DAY
        if not due and not daily:
            return
        if due:
            self._compacted = self._table.commits
        if daily:
            self._swept = time.monotonic()
        try:
            if due:
                self.compact()
            if daily:
                self.sweep()
        except Exception:
            LOG.warning("upkeep of %s failed; it is tried again later", self._table.uri, exc_info=True)

    def compact(self) -> None:
        table = self._table.open()
        if table is not None:
            table.optimize.compact(max_concurrent_tasks=1)

    def sweep(self, keep_files: int = _KEEP_FILES) -> None:
        """Delete days beyond retention, and files that are `keep_files` hours out of use or were never committed."""
        table = self._table.open()
        if table is None:
            return
        days = self._settings.retention_days
        if days is not None:
            first = datetime.now(UTC).date() - timedelta(days=days)
            table.delete(f"day < '{first.isoformat()}'")
        table.vacuum(retention_hours=keep_files, enforce_retention_duration=False, dry_run=False, full=True)
