"""The states of a job: BullMQ's words and two more (``cancelled``, ``expired``); and those of a delivery."""

from enum import StrEnum
from typing import Final, Literal, get_args

__all__ = ["DELIVERY_STATES", "FINISHED", "DeliveryState", "State"]


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

#: pending: it waits for its first try, or for another one; failed: for good.
DeliveryState = Literal["pending", "delivered", "failed"]
DELIVERY_STATES: Final[tuple[DeliveryState, ...]] = get_args(DeliveryState)
