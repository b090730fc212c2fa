"""What the event stream and the diary of a soak say about what was promised."""

import collections
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from backroom.model.states import FINISHED
from backroom.store.events import Event, Events
from tests.integration.engine.claims import most_in_a_window

__all__ = ["Accepted", "Reckoning", "every_event"]

READ_AT_ONCE: Final = 5000
LATE_MS: Final = 1000
"""A delayed job that became ready so much after its time, or more, was late."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A job whose submission was answered with 202."""

    queue: str
    #: When it may start at the earliest, in ms since 1970; None: at once.
    due_ms: int | None = None


def every_event(events: Events) -> list[Event]:
    """All that the stream has."""
    found: list[Event] = []
    while page := events.read(found[-1].id if found else "0-0", count=READ_AT_ONCE):
        found += page
    return found


class Reckoning:
    """Counts what happened to accepted jobs."""

    def __init__(self, events: Sequence[Event], accepted: Mapping[str, Accepted]) -> None:
        self._events, self._accepted = events, accepted

    def ended_twice(self) -> int:
        """How many jobs had more than one valid end."""
        ends = collections.Counter(event.job_id for event in self._events if event.type in FINISHED)
        return sum(1 for job_id in self._accepted if ends[job_id] > 1)

    def started_early(self) -> int:
        """How many jobs started before their time."""
        first = self._first("active")
        return sum(1 for job_id, due in self._due() if job_id in first and first[job_id] < due)

    def ready_late(self) -> tuple[int, int]:
        """How many delayed jobs became ready late, and how late the latest was, in ms."""
        first = self._first("waiting")
        lateness = [first[job_id] - due for job_id, due in self._due() if job_id in first]
        return sum(1 for late in lateness if late >= LATE_MS), max(lateness, default=0)

    def most_at_once(self, queue: str) -> int:
        """How many jobs of the queue were active at the same time at most."""
        active: set[str] = set()
        most = 0
        for event in self._of(queue):
            if event.type == "active":
                active.add(event.job_id)
            elif event.type in {"stalled", "waiting", "delayed", *FINISHED}:
                active.discard(event.job_id)
            most = max(most, len(active))
        return most

    def most_in_a_window(self, queue: str, duration_ms: int) -> int:
        """How many jobs of the queue, which are not tried again, started within one rate window at most."""
        return most_in_a_window(list(self._of(queue)), duration_ms)

    def _of(self, queue: str) -> Iterable[Event]:
        return (event for event in self._events if event.queue == queue)

    def _due(self) -> Iterable[tuple[str, int]]:
        return ((job_id, job.due_ms) for job_id, job in self._accepted.items() if job.due_ms is not None)

    def _first(self, kind: str) -> Mapping[str, int]:
        """When this happened to each job for the first time."""
        first: dict[str, int] = {}
        for event in self._events:
            if event.type == kind:
                first.setdefault(event.job_id, event.at)
        return first
