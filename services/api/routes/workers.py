"""Who does the work."""

from services.api.http.access import Access
from services.api.http.answers import Answer
from services.api.http.operation import Call, Reply, Resource
from services.api.http.validation import NoBody, NoQuery
from services.api.schemas import WorkerList

__all__ = ["resource"]

resource = Resource("Workers", "The processes that do the jobs.")


@resource.operation(
    "GET",
    "/v1/workers",
    access=Access.READ,
    query=NoQuery,
    body=NoBody,
    replies={200: Reply("All that have been heard of lately.", WorkerList)},
)
def list_workers(call: Call[NoQuery, NoBody]) -> Answer:
    """List the workers."""
    return Answer(200, {"workers": [worker.to_dict() for worker in call.backend.store.workers.list()]})
