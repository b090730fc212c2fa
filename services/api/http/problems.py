"""Every error answer of the API: RFC 9457 ``application/problem+json``, for unknown routes and crashes too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge

from backroom.model import errors as model
from services.api.http.answers import Answer

__all__ = ["PROBLEMS", "Problem", "ProblemType", "as_problem", "problem_answer"]

MAX_ERRORS: Final = 100
"""The most entries of ``errors`` in one answer: a bulk of 1000 bad jobs needs no megabyte of reproach."""
RETRY_SECONDS: Final = 2
"""``Retry-After`` of a 503: about as long as a store needs to come back."""


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One kind of error. Its ``type`` URI opens the page ``/problems`` at its explanation."""

    slug: str
    status: int
    title: str
    explanation: str

    @property
    def uri(self) -> str:
        """The value of ``type``: a reference relative to the API's address."""
        return f"/problems#{self.slug}"


PROBLEMS: Final[Mapping[str, ProblemType]] = {
    kind.slug: kind
    for kind in (
        ProblemType("bad-request", 400, "Bad request", "The request is not well-formed HTTP or lacks its body."),
        ProblemType(
            "request-timeout", 408, "Request time-out", "The headers of the request did not come to an end in time."
        ),
        ProblemType("uri-too-long", 414, "Address too long", "The path with the query is too long."),
        ProblemType(
            "headers-too-large", 431, "Headers too large", "The request has too many headers, or one is too long."
        ),
        ProblemType(
            "malformed-json",
            400,
            "Malformed JSON",
            "The body is not JSON as RFC 8259 has it: UTF-8, no NaN or Infinity, no key twice in one object.",
        ),
        ProblemType(
            "unauthorized",
            401,
            "Key needed",
            "Send a key of this stack as 'Authorization: Bearer ...'; this one is not.",
        ),
        ProblemType("forbidden", 403, "Forbidden", "The key's roles, queues or job types do not allow this request."),
        ProblemType(
            "foreign-request",
            403,
            "Foreign request",
            "Without API keys the stack answers only requests that name it by one of its own host names, and writes "
            "only where no other site stands behind them. Set BACKROOM_ALLOWED_HOSTS for more names, or "
            "BACKROOM_API_KEYS.",
        ),
        ProblemType("not-found", 404, "Not found", "There is no such resource."),
        ProblemType("method-not-allowed", 405, "Method not allowed", "The Allow header lists the methods that are."),
        ProblemType("unknown-method", 501, "Unknown method", "The method of the request is none of HTTP's."),
        ProblemType("wrong-state", 409, "Wrong state", "The state of the job does not allow this action."),
        ProblemType(
            "queue-busy", 409, "Queue busy", 'Jobs of the queue are running. Wait for them, or send {"force": true}.'
        ),
        ProblemType(
            "precondition-failed",
            412,
            "Precondition failed",
            "The job has changed since it was read: none of the tags in If-Match is its ETag now. Read it again.",
        ),
        ProblemType(
            "defined-in-code",
            409,
            "Defined in code",
            "The schedule comes from the code of a job, or from the configuration of a Celery application. It can be "
            "paused, resumed and run here; anything else is to be changed there.",
        ),
        ProblemType(
            "still-running",
            409,
            "Still running",
            "The first request with this Idempotency-Key is being answered. Retry-After says when to ask again.",
        ),
        ProblemType(
            "action-over", 409, "Action over", "The bulk action has come to its end: there is nothing to abort."
        ),
        ProblemType("name-taken", 409, "Name taken", "Something else has this name. Choose another one."),
        ProblemType("too-many-webhooks", 409, "Too many webhooks", "A stack has 100 endpoints at most. Remove one."),
        ProblemType(
            "not-deliverable",
            409,
            "Not deliverable",
            "Nobody takes the delivery now: its endpoint is disabled, or a try is about to end.",
        ),
        ProblemType("too-many-keys", 409, "Too many keys", "A stack has 1000 API keys at most. Revoke one."),
        ProblemType(
            "last-admin-key",
            409,
            "Last admin key",
            "Without this key nobody could manage the others. Create another admin key that does not end, or set one "
            "in BACKROOM_API_KEYS, and try again.",
        ),
        ProblemType("too-large", 413, "Too large", "The body, or the data of a job, exceeds the limit that is named."),
        ProblemType("unsupported-media-type", 415, "Unsupported media type", "Bodies are application/json in UTF-8."),
        ProblemType(
            "invalid-input", 422, "Invalid input", "'errors' has a JSON Pointer, a code and a sentence for each field."
        ),
        ProblemType(
            "key-reused",
            422,
            "Idempotency key reused",
            "The Idempotency-Key was used with another body. A key belongs to one request; a new one needs a new key.",
        ),
        ProblemType(
            "precondition-required",
            428,
            "Precondition required",
            "Send the ETag of the job as you have read it in If-Match, so that no change of others is overwritten.",
        ),
        ProblemType(
            "too-many-requests",
            429,
            "Too many requests",
            "The key has used up its requests, or its submissions, of this window. RateLimit-Policy says how many "
            "there are, Retry-After when the next begins.",
        ),
        ProblemType(
            "internal-error",
            500,
            "Internal error",
            "A defect of the stack; its log has the traceback at the requestId.",
        ),
        ProblemType(
            "store-unavailable",
            503,
            "Store unavailable",
            "Redis is away, starting, or does not answer in time. Try again.",
        ),
        ProblemType(
            "store-full",
            503,
            "Store full",
            "Redis has reached its memory limit. Finish or remove jobs, or raise the limit.",
        ),
        ProblemType(
            "queue-full", 503, "Queue full", "The queue holds as many jobs as its maxLength allows. Try again."
        ),
        ProblemType(
            "no-job-types",
            503,
            "No job types",
            "No worker has published its job types yet, so submissions cannot be checked. Start one and try again.",
        ),
        ProblemType("draining", 503, "Draining", "This process is being stopped. Try again: another one takes over."),
        ProblemType(
            "too-many-waits",
            503,
            "Too many waits",
            "As many callers wait or listen to events as are allowed at once; ask without waiting, or later.",
        ),
    )
}

_BY_STATUS: Final = {
    400: "bad-request",
    404: "not-found",
    405: "method-not-allowed",
    413: "too-large",
    415: "unsupported-media-type",
}


class Problem(Exception):
    """Raised anywhere while a request is handled: the request is answered with this problem."""

    def __init__(
        self,
        slug: str,
        detail: str,
        *,
        errors: Sequence[model.FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = PROBLEMS[slug]
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        if self.kind.status == 503:  # noqa: PLR2004 - Service Unavailable
            self.headers.setdefault("Retry-After", str(RETRY_SECONDS))


def _invalid(error: model.InvalidInput) -> Problem:
    found = error.errors
    first = f"{found[0].pointer}: {found[0].message}" if found[0].pointer else found[0].message
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return Problem("invalid-input", first + more, errors=found)


def _from_http(error: HTTPException) -> Problem:
    detail = error.description or "The request cannot be answered."
    if isinstance(error, NotFound):
        detail = "There is nothing at this address; /openapi.json lists what there is."
    if isinstance(error, RequestEntityTooLarge):
        detail = "The request body is too large."
    headers = {}
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
        detail = f"This address answers {headers['Allow']}."
    return Problem(_BY_STATUS.get(error.code or 400, "bad-request"), detail, headers=headers)


#: Errors of the model whose own words are for the caller.
_IN_OWN_WORDS: Final[Mapping[type[Exception], str]] = {
    model.NotFound: "not-found",
    model.WrongState: "wrong-state",
    model.TooLarge: "too-large",
    model.QueueFull: "queue-full",
    model.QueueBusy: "queue-busy",
    model.ActionOver: "action-over",
    model.Stale: "precondition-failed",
    model.NameTaken: "name-taken",
    model.KeysFull: "too-many-keys",
    model.WebhooksFull: "too-many-webhooks",
    model.NotDeliverable: "not-deliverable",
    model.LastAdminKey: "last-admin-key",
}


def as_problem(error: Exception) -> Problem | None:
    """The problem that an exception stands for; None for one that nobody foresaw."""
    problem = None
    if isinstance(error, Problem):
        problem = error
    elif isinstance(error, model.InvalidInput):
        problem = _invalid(error)
    elif slug := _IN_OWN_WORDS.get(type(error)):
        problem = Problem(slug, str(error))
    elif isinstance(error, model.StoreFull):
        problem = Problem("store-full", "The job store has reached its memory limit and stored nothing. Try again.")
    elif isinstance(error, model.StoreUnavailable):  # its own words name addresses, which are for the log
        problem = Problem("store-unavailable", "The job store does not answer; nothing is promised. Try again.")
    elif isinstance(error, HTTPException):
        problem = _from_http(error)
    return problem


def problem_answer(problem: Problem, request_id: str) -> Answer:
    """The problem as an answer: ``{type, title, status, detail, errors, requestId}``."""
    body: dict[str, Any] = {
        "type": problem.kind.uri,
        "title": problem.kind.title,
        "status": problem.kind.status,
        "detail": problem.detail,
        "errors": [error._asdict() for error in problem.errors[:MAX_ERRORS]],
        "requestId": request_id,
    }
    headers = {"Cache-Control": "no-store", **problem.headers}
    return Answer(problem.kind.status, body, headers=headers, content_type="application/problem+json")
