"""What may go wrong between this client and a stack; each message says what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from backroom.model.errors import FieldError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from backroom.client.answers.jobs import Job

__all__ = [
    "BackroomAPIError",
    "BackroomClientError",
    "BadRequest",
    "Conflict",
    "FieldError",
    "Forbidden",
    "InvalidInput",
    "JobFailed",
    "NotFound",
    "PreconditionFailed",
    "PreconditionRequired",
    "ServerError",
    "TooLarge",
    "TooManyRequests",
    "Unauthorized",
    "Unavailable",
    "UnexpectedAnswer",
    "Unreachable",
    "WaitTimeout",
    "error_for",
]


class BackroomClientError(Exception):
    """The root of the tree."""


class Unreachable(BackroomClientError):
    """Nobody answered, and the tries are used up. The cause is the error of the last try.

    A request that changes something may have been carried out all the same, where it was sent and the answer was lost.
    """


class UnexpectedAnswer(BackroomClientError):
    """Something answered, but not as this version of Backroom does: a proxy, another service, a newer version."""


class WaitTimeout(BackroomClientError, TimeoutError):
    """The time is up and the job has not finished. It is still there, and will be run."""

    def __init__(self, job: Job, seconds: float) -> None:
        #: The job as it was when the time was up.
        self.job = job
        super().__init__(f"Job {job.id} is still {job.state} after {seconds:g} s. It goes on; wait for it again.")


class JobFailed(BackroomClientError):
    """The job has no result: it failed, was cancelled or expired."""

    def __init__(self, job: Job) -> None:
        #: The job; its ``state`` and its ``error`` say more.
        self.job = job
        why = f": {job.error.type}: {job.error.message}" if job.error else "."
        super().__init__(f"Job {job.id} ({job.name}) is {job.state}{why}")


class BackroomAPIError(BackroomClientError):
    """The API refused the request (RFC 9457). Each status has a class of its own below this one."""

    def __init__(
        self,
        *,
        status: int,
        type: str,  # noqa: A002 - RFC 9457's word
        title: str,
        detail: str,
        errors: Sequence[FieldError] = (),
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        #: The HTTP status.
        self.status = status
        #: The kind of problem, such as ``/problems#wrong-state``: a reference that opens an explanation at the API.
        self.type = type
        self.title = title
        #: A sentence for people.
        self.detail = detail
        #: What is wrong, field by field: each has a JSON ``pointer``, a ``code`` and a ``message``.
        self.errors = tuple(errors)
        #: Under this id the API's log has more.
        self.request_id = request_id
        #: In how many seconds to try again, if the API said so.
        self.retry_after = retry_after
        super().__init__(detail or title)

    @property
    def code(self) -> str:
        """The last part of `type`, such as ``wrong-state``: a stable word for programs."""
        return self.type.partition("#")[2]


class BadRequest(BackroomAPIError):
    """400: the request was not understood."""


class Unauthorized(BackroomAPIError):
    """401: a key is needed, and this one is none or not known."""


class Forbidden(BackroomAPIError):
    """403: the key may not do this."""


class NotFound(BackroomAPIError):
    """404: there is no such job, queue, schedule, ..."""


class Conflict(BackroomAPIError):
    """409: the state of things does not allow this now."""


class PreconditionFailed(BackroomAPIError):
    """412: it has changed since it was read."""


class TooLarge(BackroomAPIError):
    """413: above a size limit, which the message names."""


class InvalidInput(BackroomAPIError):
    """422: understood, but wrong; `errors` says where. Nothing was stored or changed."""


class PreconditionRequired(BackroomAPIError):
    """428: the entity tag of what is to be changed is missing."""


class TooManyRequests(BackroomAPIError):
    """429: more requests than the key is allowed; `retry_after` says when to go on."""


class ServerError(BackroomAPIError):
    """5xx: the request was fine, and the stack could not answer it."""


class Unavailable(ServerError):
    """503: not now: Redis is away, a queue is full, a process is being stopped."""


_CLASSES: Final[Mapping[int, type[BackroomAPIError]]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: PreconditionFailed,
    413: TooLarge,
    422: InvalidInput,
    428: PreconditionRequired,
    429: TooManyRequests,
    503: Unavailable,
}
FIRST_SERVER_ERROR: Final = 500


def error_for(status: int) -> type[BackroomAPIError]:
    """The class of the error that a status stands for."""
    return _CLASSES.get(status, ServerError if status >= FIRST_SERVER_ERROR else BackroomAPIError)
