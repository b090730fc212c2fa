"""Taking jobs out of queues. Each call works in steps that hold the store for a few ms."""

from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field

from backroom.model.options import MAX_DURATION_MS
from backroom.model.states import State
from backroom.store import QueueView
from services.api.http.access import Access
from services.api.http.answers import Answer
from services.api.http.operation import Call, Reply, Resource
from services.api.http.validation import Input, NoQuery
from services.api.schemas import View
from services.api.visibility import check_whole_queue

__all__ = ["resource"]

resource = Resource("Emptying", "Taking jobs out of queues: drain, clean, obliterate. Schedules are left alone.")

CLEANED: Final = 1000
MAX_CLEANED: Final = 10_000


class DrainBody(Input):
    """What to remove."""

    delayed: bool = Field(default=False, description="The delayed jobs too.")


def _not_active(state: State) -> State:
    if state is State.ACTIVE:
        raise ValueError("must not be active: jobs that run cannot be cleaned")
    return state


class CleanBody(Input):
    """What to remove."""

    grace: Annotated[int, Field(ge=0, le=MAX_DURATION_MS)] = Field(
        default=0,
        description="Only jobs that are older, in ms: since their end if they have finished, else since submission.",
    )
    limit: Annotated[int, Field(ge=1, le=MAX_CLEANED)] = Field(
        default=CLEANED, description="Only so many jobs, the oldest of those that have finished."
    )
    state: Annotated[State, Field(strict=False), AfterValidator(_not_active)] = Field(
        default=State.COMPLETED,
        description="Only jobs in this state; any but active.",
        json_schema_extra={"not": {"const": State.ACTIVE}},
    )


class ObliterateBody(Input):
    """What to remove."""

    force: bool = Field(default=False, description="Running jobs too; their workers are told to stop them.")


class Removed(View):
    """What was removed."""

    removed: int = Field(description="Jobs.")


class Cleaned(View):
    """What was removed."""

    ids: list[str]


def _existing(call: Call[Any, Any]) -> QueueView:
    """The queue of the address. Raises `NotFound`, `Problem` (403)."""
    queue = call.path["queue"]
    check_whole_queue(call.principal, queue)
    return call.backend.store.queues.get(queue)


@resource.operation(
    "POST",
    "/v1/queues/{queue}/drain",
    access=Access.OPERATE,
    query=NoQuery,
    body=DrainBody,
    replies={200: Reply("They are gone.", Removed)},
    problems=(404,),
)
def drain_queue(call: Call[NoQuery, DrainBody]) -> Answer:
    """Remove the waiting jobs of a queue.

    Running and finished jobs stay. Jobs that are submitted meanwhile may be spared.
    """
    queue = _existing(call)
    return Answer(200, {"removed": call.backend.store.emptying.drain(queue.name, delayed=call.body.delayed)})


@resource.operation(
    "POST",
    "/v1/queues/{queue}/clean",
    access=Access.OPERATE,
    query=NoQuery,
    body=CleanBody,
    replies={200: Reply("These are gone.", Cleaned)},
    problems=(404,),
)
def clean_queue(call: Call[NoQuery, CleanBody]) -> Answer:
    """Remove old jobs in one state.

    At most as many as `limit` says; ask again until none are left. Without a body: a thousand completed jobs.
    """
    queue, body = _existing(call), call.body
    ids = call.backend.store.emptying.clean(queue.name, state=body.state, grace_ms=body.grace, limit=body.limit)
    return Answer(200, {"ids": ids})


@resource.operation(
    "POST",
    "/v1/queues/{queue}/obliterate",
    access=Access.OPERATE,
    query=NoQuery,
    body=ObliterateBody,
    replies={200: Reply("The queue is gone, with everything in it.", Removed)},
    problems=(404, 409),
)
def obliterate_queue(call: Call[NoQuery, ObliterateBody]) -> Answer:
    """Remove a queue with everything in it, its limits and its pause too.

    409 while any of its jobs runs, unless `force` is set: then nothing was changed. Pause the queue first, and no more
    jobs are started.
    """
    queue = _existing(call)
    return Answer(200, {"removed": call.backend.store.emptying.obliterate(queue.name, force=call.body.force)})
