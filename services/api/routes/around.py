"""What surrounds the jobs: health, metrics, and pages for people."""

from dataclasses import replace

from backroom.model.errors import StoreUnavailable
from services.api.http import telemetry
from services.api.http.access import Access
from services.api.http.answers import Answer
from services.api.http.operation import Call, Reply, Resource
from services.api.http.problems import PROBLEMS, Problem
from services.api.http.validation import NoBody, NoQuery
from services.api.pages import PAGE, page_answer
from services.api.schemas import HealthView
from services.api.visibility import visible_queues, visible_workers

__all__ = ["resource"]

resource = Resource("Around", "Health, metrics, and pages for people.")


@resource.operation(
    "GET",
    "/livez",
    access=Access.PUBLIC,
    query=NoQuery,
    body=NoBody,
    replies={200: Reply("This process is alive.", HealthView)},
)
def livez(_call: Call[NoQuery, NoBody]) -> Answer:
    """Tell whether this process is alive."""
    return Answer(200, {"status": "ok"})


@resource.operation(
    "GET",
    "/readyz",
    access=Access.PUBLIC,
    query=NoQuery,
    body=NoBody,
    replies={200: Reply("This process can take requests.", HealthView)},
    problems=(503,),
)
def readyz(call: Call[NoQuery, NoBody]) -> Answer:
    """Tell whether this process can take requests: the store answers, and it is not on its way out."""
    if call.backend.is_draining():
        raise Problem("draining", "This process is on its way out; another one takes over.")
    call.backend.store.ping()
    return Answer(200, {"status": "ready"})


@resource.operation(
    "GET",
    "/metrics",
    access=Access.READ,
    query=NoQuery,
    body=NoBody,
    replies={200: Reply("Prometheus' text format.", schema={"type": "string"}, media_type="text/plain")},
)
def metrics(_call: Call[NoQuery, NoBody]) -> Answer:
    """Read the metrics of the API itself; those of jobs and queues come from the exporter."""
    return telemetry.exposition()


@resource.operation("GET", "/problems", access=Access.READ, query=NoQuery, body=NoBody, replies={200: PAGE})
def problems(call: Call[NoQuery, NoBody]) -> Answer:
    """Explain the errors: the `type` of a problem opens this page at its paragraph."""
    return page_answer(call, "problems.html", problems=PROBLEMS.values())


@resource.operation(
    "GET",
    "/",
    access=Access.READ,
    query=NoQuery,
    body=NoBody,
    replies={200: PAGE, 503: replace(PAGE, description="The same page, which says that the job store is away.")},
)
def home(call: Call[NoQuery, NoBody]) -> Answer:
    """Show whether the stack is up, and its queues."""
    store, principal = call.backend.store, call.principal
    is_open = principal.is_everybody
    try:
        queues = visible_queues(principal, store.queues.list())
        workers = visible_workers(principal, store.workers.list())
        types = [each for each in store.job_types.list() if principal.is_for_type(each.name)]
    except StoreUnavailable as error:
        return page_answer(call, "home.html", status=503, away=str(error), open=is_open)
    return page_answer(call, "home.html", away=None, open=is_open, queues=queues, workers=workers, types=types)
