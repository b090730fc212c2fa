"""Acting on many jobs in the background: begin, watch, abort."""

import time
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from backroom.model.errors import InvalidInput, NotFound
from backroom.model.states import State
from backroom.store import JobQuery
from backroom.store.bulk import MAX_BULK_IDS, BulkAction, BulkActionKind, Reach
from services.api.bodies import Name
from services.api.http.access import Access, Principal
from services.api.http.answers import Answer
from services.api.http.operation import Call, Reply, Resource
from services.api.http.validation import Input, NoBody, NoQuery
from services.api.paging import NEXT_PAGE, next_page
from services.api.queries import PageQuery, Text, Time, Words
from services.api.schemas import View
from services.api.visibility import narrowed

__all__ = ["resource"]

resource = Resource("Bulk actions", "One thing that is done to many jobs, in the background.")

MAX_VALUES: Final = 100
FIND_SECONDS: Final = 1.0
"""How long the answer waits for the jobs to be found, so that it can say how many there are."""
COUNT_SECONDS: Final = 15.0
"""How long a dry run may count."""


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Several = Field(min_length=1, max_length=MAX_VALUES)
Texts = Annotated[list[Text], Several, BeforeValidator(_listed, json_schema_input_type=Text | list[Text])]
States = Annotated[
    list[Annotated[State, Field(strict=False)]],
    Several,
    BeforeValidator(_listed, json_schema_input_type=State | list[State]),
]


class BulkFilter(Input):
    """Which jobs: the names of GET /v1/jobs, at least one of them. Several values of one name mean "or"."""

    queue: Texts | None = Field(default=None, description="One queue or several.")
    state: States | None = Field(default=None, description="One state or several.")
    name: Texts | None = Field(default=None, description="One job type or several.")
    tag: Texts | None = Field(default=None, description="One tag or several: jobs with any of them.")
    user_id: Texts | None = Field(default=None, description="The userId in the data, one or several.")
    q: Words | None = Field(default=None, description="An id, or words in the error, the name or a tag.")
    from_: Time | None = Field(default=None, alias="from", description="Created at this time or later.")
    to: Time | None = Field(default=None, description="Created before this time.")

    @model_validator(mode="after")
    def _chooses(self) -> Self:
        if all(value is None for _, value in self):
            raise ValueError("must name something: a filter that lets every job pass is not taken")
        return self


class BulkActionBody(Input):
    """What to do to which jobs: `ids` or `filter`, one of them."""

    action: BulkActionKind = Field(description="As with one job: what its state forbids is skipped.")
    ids: Annotated[list[Name], Field(min_length=1, max_length=MAX_BULK_IDS)] | None = Field(
        default=None, description="These jobs."
    )
    filter: BulkFilter | None = None
    dry_run: bool = Field(default=False, description="Only count the jobs that it would be about.")
    reset_attempts: bool = Field(default=False, description="With retry: give each all its tries again.")

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if (self.ids is None) == (self.filter is None):
            raise ValueError("give ids or filter, one of them")
        if self.reset_attempts and self.action != "retry":
            raise ValueError("resetAttempts belongs to the action retry")
        return self


class BulkLinks(View):
    """Where more can be done about it."""

    self: str
    abort: str


class BulkActionView(View):
    """A bulk action."""

    id: str
    action: BulkActionKind
    state: Literal["running", "completed", "aborted", "failed"]
    total: int = Field(description="Jobs that it is about; grows for a moment, while they are being found.")
    succeeded: int = Field(description="Acted on; running jobs that are cancelled are stopped within seconds.")
    skipped: int = Field(description="In a state that forbids it, or gone by now.")
    failed: int = Field(description="Ids that are no job, or none of the key's.")
    filter: dict[str, Any] | None = Field(description="As it was sent; null: the jobs were named.")
    created_at: datetime
    finished_at: datetime | None
    detail: str | None = Field(description="Why it has failed.")
    links: BulkLinks


class BulkActionPage(View):
    """A page of bulk actions, newest first."""

    bulk_actions: list[BulkActionView]
    next: str | None = Field(description="The cursor of the next page; null on the last.")


class BulkCount(View):
    """What a bulk action would be about."""

    action: BulkActionKind
    dry_run: Literal[True]
    total: int = Field(description="Jobs that match now, those whose state forbids the action among them.")


def _view(action: BulkAction) -> dict[str, Any]:
    self = f"/v1/bulk-actions/{action.id}"
    return {**action.to_dict(), "links": {"self": self, "abort": f"{self}/abort"}}


def _visible(principal: Principal, action: BulkAction) -> bool:
    """Whether a key may know of it: one that is bound to some lists only if it may touch nothing else either."""
    pairs = ((principal.queues, action.reach.queues), (principal.job_types, action.reach.names))
    return all(allowed is None or (reach is not None and allowed.issuperset(reach)) for allowed, reach in pairs)


def _existing(call: Call[Any, Any]) -> BulkAction:
    action = call.backend.store.bulk.get(call.path["actionId"])
    if not _visible(call.principal, action):
        raise NotFound("bulk action", action.id)
    return action


def _query(call: Call[NoQuery, BulkActionBody], chosen: BulkFilter) -> JobQuery:
    return JobQuery(
        queues=narrowed(chosen.queue or (), call.principal.queues),
        states=chosen.state or (),
        names=narrowed(chosen.name or (), call.principal.job_types),
        tags=chosen.tag or (),
        user_ids=chosen.user_id or (),
        q=chosen.q,
        from_=chosen.from_,
        to=chosen.to,
    )


@resource.operation(
    "POST",
    "/v1/bulk-actions",
    access=Access.OPERATE,
    query=NoQuery,
    body=BulkActionBody,
    replies={
        200: Reply("With dryRun: how many jobs match now.", BulkCount),
        202: Reply("It has begun.", BulkActionView, headers={"Location": "Where it can be watched."}),
    },
    idempotent=True,
)
def start_bulk_action(call: Call[NoQuery, BulkActionBody]) -> Answer:
    """Retry, cancel, promote or remove many jobs.

    It is about the jobs as they are now: those that are submitted later, or come later to a state of the filter, are
    left alone. They are acted on in the order in which they were submitted, in small steps; retried jobs keep their
    priority and options. It goes on if a process dies, and no job is acted on twice.
    """
    body, bulk = call.body, call.backend.store.bulk
    query = None if body.filter is None else _query(call, body.filter)
    if body.dry_run:
        total = len(set(body.ids or ())) if query is None else bulk.count(query, within=COUNT_SECONDS)
        if total is None:
            message = f"means more jobs than can be counted in {COUNT_SECONDS:g} s: narrow it, or do without a dry run"
            raise InvalidInput.at("/filter", "too-many", message)
        return Answer(200, {"action": body.action, "dryRun": True, "total": total})
    principal = call.principal
    action = bulk.start(
        call.new_id(),
        body.action,
        (body.ids or ()) if query is None else query,
        shown=None if body.filter is None else body.filter.model_dump(mode="json", by_alias=True, exclude_unset=True),
        reach=Reach(
            queues=None if principal.queues is None else sorted(principal.queues),
            names=None if principal.job_types is None else sorted(principal.job_types),
        ),
        reset_attempts=body.reset_attempts,
    )
    end = time.monotonic() + FIND_SECONDS
    bulk.find(action.id, lambda: time.monotonic() < end)
    call.backend.bulk_runner.nudge()
    return Answer(202, _view(bulk.get(action.id)), headers={"Location": f"/v1/bulk-actions/{action.id}"})


@resource.operation(
    "GET",
    "/v1/bulk-actions",
    access=Access.READ,
    query=PageQuery,
    body=NoBody,
    replies={200: Reply("A page of them.", BulkActionPage, headers=NEXT_PAGE)},
)
def list_bulk_actions(call: Call[PageQuery, NoBody]) -> Answer:
    """List the bulk actions, newest first.

    They can be read for a while after their end: BACKROOM_KEEP_BULK_ACTIONS_SECONDS. A page of a key of some queues or
    job types may be short, or empty, and still have a next one.
    """
    query = call.query
    page = call.backend.store.bulk.page(limit=query.limit, cursor=query.cursor)
    body = {"bulkActions": [_view(each) for each in page.actions if _visible(call.principal, each)], "next": page.next}
    return Answer(200, body, headers=next_page("/v1/bulk-actions", query, page.next))


@resource.operation(
    "GET",
    "/v1/bulk-actions/{actionId}",
    access=Access.READ,
    query=NoQuery,
    body=NoBody,
    replies={200: Reply("The bulk action as it is now.", BulkActionView)},
    problems=(404,),
)
def read_bulk_action(call: Call[NoQuery, NoBody]) -> Answer:
    """Read a bulk action: how far it is."""
    return Answer(200, _view(_existing(call)))


@resource.operation(
    "POST",
    "/v1/bulk-actions/{actionId}/abort",
    access=Access.OPERATE,
    query=NoQuery,
    body=NoBody,
    replies={200: Reply("It does no more; what it has done stays done.", BulkActionView)},
    problems=(404, 409),
)
def abort_bulk_action(call: Call[NoQuery, NoBody]) -> Answer:
    """Abort a bulk action.

    409 if it has come to its end before; aborting it twice is no error.
    """
    return Answer(200, _view(call.backend.store.bulk.abort(_existing(call).id)))
