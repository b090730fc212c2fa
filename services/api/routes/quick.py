"""The quick door: one call, no vocabulary."""

from backroom.model.errors import InvalidInput, TooLarge
from services.api.bodies import EnqueueBody
from services.api.http.access import Access
from services.api.http.answers import Answer
from services.api.http.operation import Call, Resource
from services.api.http.validation import NoQuery
from services.api.routes.submit import SUBMIT_HEADERS, SUBMIT_REPLIES
from services.api.submission import Draft, submit_one

__all__ = ["resource"]

resource = Resource("Quick door", "A job in one call, without a word of our vocabulary.")

JOB_TYPE = "heavy-task"


@resource.operation(
    "POST",
    "/jobs/enqueue",
    access=Access.SUBMIT,
    query=NoQuery,
    body=EnqueueBody,
    replies=SUBMIT_REPLIES,
    headers=SUBMIT_HEADERS,
    idempotent=True,
)
def enqueue(call: Call[NoQuery, EnqueueBody]) -> Answer:
    """Enqueue a heavy task for a user.

    The same as `POST /v1/jobs` with the name `heavy-task` and the data `{userId, payload}`.
    """
    data = {"userId": call.body.user_id, "payload": call.body.payload}
    try:
        return submit_one(call, Draft(JOB_TYPE, data, None, call.body.options))
    except InvalidInput as error:
        raise InvalidInput(one._replace(pointer=_in_the_body(one.pointer)) for one in error.errors) from None
    except TooLarge as error:
        raise TooLarge("payload (/payload)", error.limit, error.size) from None


def _in_the_body(pointer: str) -> str:
    """The data is the body itself here, and pointers begin one level higher; what is wrong with all is the payload."""
    return "/payload" if pointer == "/data" else pointer.removeprefix("/data")
