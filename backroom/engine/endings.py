"""How tries end when the pool slot itself cannot say it: the outcomes that a worker's main process writes."""

from billiard.exceptions import TimeLimitExceeded

from backroom.engine.consequences import announce_failure
from backroom.engine.errors import error_text, plain_error
from backroom.engine.request import JobRequest
from backroom.engine.retrying import next_delay_ms
from backroom.engine.running import TIMEOUT_MESSAGE
from backroom.store.execution import Outcome

__all__ = ["cancelled", "failed", "released", "stalled", "timed_out", "unknown_type"]

#: A job whose type a worker does not know goes back for this long: a newer worker may be starting, in ms.
UNKNOWN_TYPE_MS = 5000


def released(request: JobRequest) -> Outcome:
    """It goes back to its place in the queue, as if it had never been claimed."""
    return Outcome(id=request.id, token=request.claimed.token, outcome="release")


def stalled(request: JobRequest, error: object) -> Outcome:
    """The process that ran it died."""
    reason = f"the process that ran it (pid {request.worker_pid}) died: {error}"
    return Outcome(id=request.id, token=request.claimed.token, outcome="stalled", error=reason)


def cancelled(request: JobRequest, message: str) -> Outcome:
    """Someone wanted it cancelled."""
    text = plain_error("Cancelled", message, attempt=_attempt(request))
    return Outcome(id=request.id, token=request.claimed.token, outcome="cancelled", error=text)


def timed_out(request: JobRequest) -> Outcome:
    """It ran too long and had to be ended from outside. Calls the errbacks of a task that cannot call them any more."""
    error = TimeLimitExceeded(TIMEOUT_MESSAGE)
    text = plain_error("TimeLimitExceeded", TIMEOUT_MESSAGE, attempt=_attempt(request))
    delay = next_delay_ms(request.options, _attempt(request), error, getattr(request.task, "custom_backoff", None))
    if delay is not None:
        return Outcome(
            id=request.id, token=request.claimed.token, outcome="retry", error=text, delay=delay, tried="timeout"
        )
    announce_failure(request.task, request._context, error)  # noqa: SLF001 - Celery's own handlers do the same
    return Outcome(id=request.id, token=request.claimed.token, outcome="failed", error=text, tried="timeout")


def failed(request: JobRequest, error: BaseException) -> Outcome:
    """It cannot be run: trying again would not help."""
    text = error_text(error, attempt=_attempt(request))
    return Outcome(id=request.id, token=request.claimed.token, outcome="failed", error=text)


def unknown_type(request: JobRequest, hostname: str, offered: list[str]) -> Outcome:
    """No task of this name here: another worker may know it, or a newer one will."""
    message = f"no job type {request.name!r} on worker {hostname}; it offers: {', '.join(offered)}"
    text = plain_error("NotRegistered", message, attempt=_attempt(request))
    return Outcome(id=request.id, token=request.claimed.token, outcome="retry-after", error=text, delay=UNKNOWN_TYPE_MS)


def _attempt(request: JobRequest) -> int:
    return request.claimed.made + 1
