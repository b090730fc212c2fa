"""The API's description of itself, and the list of everything that is described."""

from functools import cache
from typing import Any

from backroom import __version__
from services.api.http import openapi
from services.api.http.access import Access
from services.api.http.answers import Answer
from services.api.http.operation import Call, Reply, Resource
from services.api.http.validation import NoBody, NoQuery
from services.api.pages import PAGE, page_answer
from services.api.routes import (
    around,
    audit,
    bulk,
    bulk_actions,
    emptying,
    events,
    job_actions,
    job_changes,
    job_types,
    jobs,
    keys,
    queues,
    quick,
    schedules,
    stats,
    submit,
    webhooks,
    workers,
)

__all__ = ["document", "resource", "resources"]

resource = Resource("Document", "This description, for programs and for people.")


def resources() -> list[Resource]:
    """Every resource, in the order of the document."""
    return [
        quick.resource,
        submit.resource,
        bulk.resource,
        jobs.resource,
        events.resource,
        job_actions.resource,
        job_changes.resource,
        bulk_actions.resource,
        queues.resource,
        emptying.resource,
        schedules.resource,
        job_types.resource,
        webhooks.resource,
        workers.resource,
        stats.resource,
        keys.resource,
        audit.resource,
        around.resource,
        resource,
    ]


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document of the whole API."""
    return openapi.document(resources(), __version__)


@resource.operation(
    "GET",
    "/openapi.json",
    access=Access.READ,
    query=NoQuery,
    body=NoBody,
    replies={200: Reply("OpenAPI 3.1.", schema={"type": "object"})},
)
def read_document(_call: Call[NoQuery, NoBody]) -> Answer:
    """Read this document."""
    return Answer(200, document())


@resource.operation("GET", "/docs", access=Access.READ, query=NoQuery, body=NoBody, replies={200: PAGE})
def read_docs(call: Call[NoQuery, NoBody]) -> Answer:
    """Show the calls of this API to people."""
    return page_answer(call, "docs.html", document=document())
