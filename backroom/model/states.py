"""The states of a job: BullMQ's words and two more (``cancelled``, ``expired``)."""

from enum import StrEnum

__all__ = ["FINISHED", "State"]


class State(StrEnum):
    """Where a job is in its life."""

    #: Ready to run.
    WAITING = "waiting"
    #: Not ready before a point in time: a delay or a backoff.
    DELAYED = "delayed"
    #: A worker holds it under a lease.
    ACTIVE = "active"
    #: Waits for its children to end.
    WAITING_CHILDREN = "waiting-children"
    #: Ended well.
    COMPLETED = "completed"
    #: Ended badly, with no tries left.
    FAILED = "failed"
    #: Stopped on request.
    CANCELLED = "cancelled"
    #: Was not started within its ``ttl``.
    EXPIRED = "expired"


#: The states from which nothing follows by itself.
FINISHED = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED, State.EXPIRED})
