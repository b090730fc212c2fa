"""Who does the work."""

from typing import Any, Final

from backroom.model.errors import NotFound
from backroom.store.workers import Wish
from services.api.http.access import Access
from services.api.http.answers import Answer
from services.api.http.operation import Call, Reply, Resource
from services.api.http.validation import NoBody, NoQuery
from services.api.schemas import WorkerList, WorkerView
from services.api.visibility import check_unbound, shown_workers

__all__ = ["resource"]

resource = Resource("Workers", "The processes that do the jobs.")

_ASKED: Final = {202: Reply("The worker as it is now; it does so within seconds.", WorkerView)}


@resource.operation(
    "GET",
    "/v1/workers",
    access=Access.READ,
    query=NoQuery,
    body=NoBody,
    replies={200: Reply("All that have been heard of lately.", WorkerList)},
)
def list_workers(call: Call[NoQuery, NoBody]) -> Answer:
    """List the workers.

    A key of some queues or job types sees those that serve its queues, and of what they run the ids of its own jobs.
    """
    return Answer(200, {"workers": [worker.to_dict() for worker in shown_workers(call)]})


@resource.operation(
    "POST",
    "/v1/workers/{workerId}/quiet",
    access=Access.OPERATE,
    query=NoQuery,
    body=NoBody,
    replies=_ASKED,
    problems=(404,),
)
def quiet_worker(call: Call[NoQuery, NoBody]) -> Answer:
    """Let a worker claim no more jobs.

    It goes on with those it has, and lives on: stop it when they have ended.
    """
    return _ask(call, "quiet")


@resource.operation(
    "POST",
    "/v1/workers/{workerId}/stop",
    access=Access.OPERATE,
    query=NoQuery,
    body=NoBody,
    replies=_ASKED,
    problems=(404,),
)
def stop_worker(call: Call[NoQuery, NoBody]) -> Answer:
    """Stop a worker, as SIGTERM does.

    Its jobs have their grace time to end, then they are given back. Whoever watches over the process may start it anew.
    """
    return _ask(call, "stop")


def _ask(call: Call[Any, Any], wish: Wish) -> Answer:
    check_unbound(call.principal)
    workers, worker_id = call.backend.store.workers, call.path["workerId"]
    workers.ask(worker_id, wish)
    for worker in workers.list():
        if worker.id == worker_id:
            return Answer(202, worker.to_dict())
    raise NotFound("worker", worker_id)  # it has just gone
