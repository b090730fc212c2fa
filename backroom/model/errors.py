"""The errors of Backroom, one small tree. Each message says what is wrong and what to do."""

from collections.abc import Iterable
from typing import NamedTuple

__all__ = [
    "ActionOver",
    "BackroomError",
    "FieldError",
    "InvalidInput",
    "KeysFull",
    "LastAdminKey",
    "NameTaken",
    "NotDeliverable",
    "NotFound",
    "QueueBusy",
    "QueueFull",
    "Stale",
    "StoreFull",
    "StoreUnavailable",
    "TooLarge",
    "WebhooksFull",
    "WrongState",
]


class FieldError(NamedTuple):
    """One thing that is wrong with one field of the input."""

    #: JSON Pointer (RFC 6901) of the field, such as ``/options/priority``; ``""`` is the whole input.
    pointer: str
    #: A stable word for programs, such as ``out-of-range``.
    code: str
    #: A sentence for people.
    message: str


class BackroomError(Exception):
    """The root of the tree."""


class InvalidInput(BackroomError):
    """What was given cannot be accepted; nothing was stored or changed."""

    def __init__(self, errors: Iterable[FieldError]) -> None:
        self.errors = tuple(errors)
        super().__init__("; ".join(f"{error.pointer or '/'}: {error.message}" for error in self.errors))

    @classmethod
    def at(cls, pointer: str, code: str, message: str) -> "InvalidInput":
        """An error about one field."""
        return cls([FieldError(pointer, code, message)])


class NotFound(BackroomError):
    """There is no such job, queue, schedule, ..."""

    def __init__(self, kind: str, name: str) -> None:
        self.kind, self.name = kind, name
        super().__init__(f"There is no {kind} {name!r}.")


class WrongState(BackroomError):
    """The job's state does not allow the action; nothing was changed."""

    def __init__(self, job_id: str, state: str, action: str) -> None:
        self.job_id, self.state, self.action = job_id, state, action
        super().__init__(f"Job {job_id!r} is {state}: it cannot be {action}.")


class Stale(BackroomError):
    """The job has changed since the caller read it; nothing was changed."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(f"Job {job_id!r} has changed since it was read: read it again.")


class QueueBusy(BackroomError):
    """Jobs of the queue are running; nothing was removed."""

    def __init__(self, queue: str, active: int) -> None:
        self.queue, self.active = queue, active
        super().__init__(f"{active} jobs of the queue {queue!r} are running: wait for them, or force it.")


class NameTaken(BackroomError):
    """Something else has this name; nothing was stored."""

    def __init__(self, kind: str, name: str) -> None:
        self.kind, self.name = kind, name
        super().__init__(f"There is a {kind} {name!r} already: choose another name.")


class KeysFull(BackroomError):
    """There are as many API keys as there may be; nothing was stored."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"There are {limit} keys, and there may be no more: revoke one.")


class LastAdminKey(BackroomError):
    """Nobody could manage the API keys without this one; nothing was changed."""

    def __init__(self) -> None:
        super().__init__("This is the last admin key without an end: create another one first.")


class WebhooksFull(BackroomError):
    """There are as many endpoints of webhooks as there may be; nothing was stored."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"There are {limit} endpoints of webhooks, and there may be no more: remove one.")


class NotDeliverable(BackroomError):
    """The delivery of a webhook cannot be made again now; nothing was changed."""

    def __init__(self, delivery_id: str, reason: str) -> None:
        self.delivery_id, self.reason = delivery_id, reason
        super().__init__(f"Delivery {delivery_id!r} cannot be made again: {reason}.")


class ActionOver(BackroomError):
    """The bulk action has come to an end already."""

    def __init__(self, action_id: str, state: str) -> None:
        self.action_id, self.state = action_id, state
        super().__init__(f"The bulk action {action_id!r} is {state} already.")


class TooLarge(BackroomError):
    """Something exceeds a size limit."""

    def __init__(self, what: str, limit: int, size: int | None = None) -> None:
        self.what, self.limit, self.size = what, limit, size
        found = "" if size is None else f"{size} bytes; "
        super().__init__(f"The {what} is too large: {found}the limit is {limit} bytes.")


class QueueFull(BackroomError):
    """The queue holds as many jobs as its ``maxLength`` allows; try again later."""

    def __init__(self, queue: str, limit: int) -> None:
        self.queue, self.limit = queue, limit
        super().__init__(f"The queue {queue!r} is full: it holds its limit of {limit} jobs. Try again later.")


class StoreUnavailable(BackroomError):
    """Redis cannot be reached, does not answer in time, or is not ready; try again later."""


class StoreFull(StoreUnavailable):
    """Redis has reached its memory limit and refuses to store more; try again later."""
