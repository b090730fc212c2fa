"""``Idempotency-Key``: a request that is sent twice is carried out once, and answered the same both times.

After the draft of the IETF (draft-ietf-httpapi-idempotency-key-header): a key belongs to its caller, method and path;
it is claimed before anything is done; only answers of success are kept.
"""

import hashlib
import re
from collections.abc import Callable
from typing import Final

import structlog
from werkzeug.wrappers import Request

from backroom.model.errors import StoreUnavailable
from backroom.store.idempotency import Idempotency, KeptAnswer, KeyClaim, OtherRequest, StillRunning
from services.api.http.answers import Answer, RawJson, to_json
from services.api.http.problems import Problem, as_problem

__all__ = ["idempotency_key", "once"]

log = structlog.get_logger("backroom.api")

HEADER: Final = "Idempotency-Key"
RETRY_SECONDS: Final = 1
"""``Retry-After`` while the first request runs: most are answered sooner, and one that died is succeeded in 10 s."""
#: A string of RFC 8941 in its quotes, or the bare characters.
_KEY: Final = re.compile(r'"(?P<quoted>(?:[ !#-\[\]-~]|\\["\\]){1,255})"\Z|(?P<bare>[!#-~][ !#-~]{0,254})\Z')
_ESCAPED: Final = re.compile(r"\\(.)")


def idempotency_key(request: Request) -> str | None:
    """The key of the request; None if it has none. Raises `Problem` (400) for one that is no key."""
    given = request.environ.get("HTTP_IDEMPOTENCY_KEY")
    if given is None:
        return None
    found = _KEY.match(given.strip())
    if found is None:
        raise Problem("bad-request", f"The {HEADER} must be 1 to 255 printable ASCII characters, in double quotes.")
    return found["bare"] or _ESCAPED.sub(r"\1", found["quoted"])


def once(
    keys: Idempotency, scope: str, value: object, handle: Callable[[KeyClaim], Answer], *, keep_seconds: int
) -> Answer:
    """The answer of ``handle``, or the one that was given before to the same request under this ``scope``.

    ``value`` is the body as it was parsed. Raises `Problem`: 422 if the key was used with another body, 409 while the
    first request runs; and what ``handle`` raises.
    """
    found = keys.claim(scope, hashlib.sha256(to_json(value, sort=True)).hexdigest(), keep_seconds=keep_seconds)
    match found:
        case KeptAnswer():
            return Answer(found.status, RawJson(found.body), {**found.headers, "Idempotent-Replayed": "true"})
        case OtherRequest():
            raise Problem("key-reused", f"This {HEADER} was used with another body. Use a new key for a new request.")
        case StillRunning():
            raise Problem(
                "still-running",
                "The first request with this key is being answered. Ask again for its answer.",
                headers={"Retry-After": str(RETRY_SECONDS)},
            )
    return _carried_out(keys, found, handle)


def _carried_out(keys: Idempotency, claim: KeyClaim, handle: Callable[[KeyClaim], Answer]) -> Answer:
    try:
        answer = handle(claim)
    except Exception as error:
        problem = as_problem(error)
        # A 503 may come of a lost answer, and be carried out all the same: the next try must be the same request.
        _settle(lambda: keys.free(claim, forget=problem is not None and problem.kind.status < 500))  # noqa: PLR2004
        raise
    _settle(lambda: keys.keep(claim, KeptAnswer(answer.status, answer.headers, answer.payload() or b"")))
    return answer


def _settle(step: Callable[[], None]) -> None:
    """What is to be answered is certain already: that it cannot be kept must not change it."""
    try:
        step()
    except StoreUnavailable as error:
        log.warning("the answer to a request with an idempotency key could not be kept", cause=str(error))
