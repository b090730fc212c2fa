"""The ledger: what this process has to write into the audit log, without making anybody wait for it.

What was done, but for submissions, is written at once, before it is answered. Submissions and refusals, which come by
the thousand, are written together, a moment later: a process that is killed loses those of the last `PAUSE_SECONDS`,
and the request lines of the log have them still.
"""

import threading
from collections import deque
from typing import Final

import structlog

from backroom.model.errors import StoreUnavailable
from backroom.store.audit import MAX_NOTED_AT_ONCE, Audit, AuditEntry, Book

__all__ = ["Ledger"]

log = structlog.get_logger("backroom.api")

PAUSE_SECONDS: Final = 0.5
"""Entries of so long a time are written together."""
MOST_PENDING: Final = 10_000
"""While the store is away so many entries are kept; more are dropped, and counted in the log."""


class Ledger:
    """Threads may share it. Its own begins with the first entry, after the fork."""

    def __init__(self, audit: Audit, *, keep: int) -> None:
        self._audit, self._keep = audit, keep
        self._pending: deque[tuple[Book, AuditEntry]] = deque()
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._news, self._closing = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._dropped = 0

    def note(self, entry: AuditEntry, *, is_submission: bool) -> None:
        """Write down what was asked for and how it ended. Never fails."""
        if is_submission or entry.outcome == "refused":
            self._put_off(("rest", entry))
            return
        try:
            self._audit.note([("acts", entry)], keep=self._keep)
        except StoreUnavailable:
            self._put_off(("acts", entry))

    def _put_off(self, entry: tuple[Book, AuditEntry]) -> None:
        if len(self._pending) >= MOST_PENDING:
            self._dropped += 1
            return
        self._pending.append(entry)
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
                    self._thread.start()
        if not self._news.is_set():
            self._news.set()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._news.wait()
            self._closing.wait(PAUSE_SECONDS)
            self._news.clear()
            if not self.flush():
                self._news.set()

    def flush(self) -> bool:
        """Write what has been put off; False if the store is away, and the rest is to be tried again."""
        with self._writing:
            while self._pending:
                batch = [self._pending[place] for place in range(min(len(self._pending), MAX_NOTED_AT_ONCE))]
                try:
                    self._audit.note(batch, keep=self._keep)
                except StoreUnavailable:
                    return False
                for _ in batch:
                    self._pending.popleft()
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                log.warning("entries of the audit log were dropped while the store was away", entries=dropped)
            return True

    def close(self) -> None:
        """The process ends: write what is left."""
        self._closing.set()
        self._news.set()
        self.flush()
