"""The job board as a worker sees it: takes jobs and ends them, where a test needs a job with an outcome."""

import json
from itertools import count
from typing import Final

from backroom.store import Store
from backroom.store.execution import Claimed, Outcome

LEASE_MS: Final = 60_000
WAIT_SECONDS: Final = 60


class Board:
    """A worker without a pool."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tokens = (f"token-{number}" for number in count())

    def claim(self) -> Claimed:
        """The next job; waits for one to be added."""
        position = self._store.events.last_id()
        for _ in range(WAIT_SECONDS):
            exchanged = self._exchange(room=1)
            if exchanged:
                return exchanged[0]
            events = self._store.events.read(position, block_ms=1000)
            position = events[-1].id if events else position
        raise AssertionError("no job came")

    def complete(self, job: Claimed, result: object) -> None:
        """End it well."""
        self._settle(Outcome(job.id, job.token, "completed", result=json.dumps(result), run=5))

    def fail(self, job: Claimed, message: str) -> None:
        """End it badly."""
        error = json.dumps({"type": "ValueError", "message": message, "traceback": "…", "attempt": 1, "at": 0})
        self._settle(Outcome(job.id, job.token, "failed", error=error, run=5))

    def log(self, job: Claimed, *messages: str) -> None:
        """Write lines into its log."""
        lines = [
            json.dumps({"at": 1_700_000_000_000, "level": "INFO", "logger": "tests", "message": message, "attempt": 1})
            for message in messages
        ]
        self._store.execution.report(job.id, job.token, logs=lines)

    def _settle(self, outcome: Outcome) -> None:
        self._exchange(outcome)

    def _exchange(self, *outcomes: Outcome, room: int = 0) -> list[Claimed]:
        answer = self._store.execution.exchange(
            worker="test-worker", token=next(self._tokens), lease_ms=LEASE_MS, outcomes=outcomes, room=room
        )
        assert all(answer.accepted)
        return answer.claimed
