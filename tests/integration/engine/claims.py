"""What the events of jobs say about when they started."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from backroom.store import Event

__all__ = ["most_in_a_window", "starts_of"]


def starts_of(events: Iterable[Event]) -> list[Event]:
    """The claims of jobs that were not given back unstarted, in their order.

    A worker gives back what no slot takes within a moment, as on a machine that stands still: such a job waits again
    and is claimed again. Not for jobs that are tried again at once, which wait again as well.
    """
    starts: dict[str, list[Event]] = {}
    for event in events:
        claims = starts.setdefault(event.job_id, [])
        if event.type == "waiting" and claims and claims[-1].type == "active":
            claims.pop()
        elif event.type in {"active", "stalled"}:
            claims.append(event)
    kept = [event for claims in starts.values() for event in claims if event.type == "active"]
    return sorted(kept, key=lambda each: each.at)


def most_in_a_window(events: Sequence[Event], duration_ms: int) -> int:
    """How many jobs, which have a rate limit to themselves, started within one window at most.

    A window begins with the first claim behind the end of the one before. A job that was given back unstarted (see
    `starts_of`) may start at the end of its window, close to those of the next.
    """
    windows: list[int] = []
    for event in events:
        if event.type == "active" and (not windows or event.at >= windows[-1] + duration_ms):
            windows.append(event.at)
    return max(Counter(bisect_right(windows, start.at) for start in starts_of(events)).values(), default=0)
