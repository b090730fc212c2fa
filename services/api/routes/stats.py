"""The stack in a few numbers."""

from collections import Counter

from backroom.model.states import State
from backroom.store.flow import FlowView
from services.api.http.access import Access
from services.api.http.answers import Answer
from services.api.http.operation import Call, Reply, Resource
from services.api.http.validation import NoBody, NoQuery
from services.api.scaling import Targets, scaling_view
from services.api.schemas import Scaling, Stats
from services.api.visibility import visible_queues, visible_workers

__all__ = ["resource"]

resource = Resource("Stats", "The stack in a few numbers.")


@resource.operation(
    "GET",
    "/v1/stats",
    access=Access.READ,
    query=NoQuery,
    body=NoBody,
    replies={200: Reply("The numbers as they are now.", Stats)},
)
def read_stats(call: Call[NoQuery, NoBody]) -> Answer:
    """Count jobs by state, queues and workers.

    For a key of some queues: theirs, and the workers that serve them, whatever else these do.
    """
    store = call.backend.store
    queues = visible_queues(call.principal, store.queues.list())
    workers = visible_workers(call.principal, store.workers.list())
    counts: Counter[State] = Counter()
    for queue in queues:
        counts.update(queue.counts)
    oldest = [queue.oldest_waiting_ms for queue in queues if queue.oldest_waiting_ms is not None]
    return Answer(
        200,
        {
            "counts": {str(state): counts[state] for state in State},
            "queues": len(queues),
            "pausedQueues": sum(queue.paused for queue in queues),
            "oldestWaitingMs": max(oldest, default=None),
            "workers": len(workers),
            "busy": sum(worker.busy for worker in workers),
            "slots": sum(worker.slots for worker in workers),
        },
    )


@resource.operation(
    "GET",
    "/v1/stats/scaling",
    access=Access.READ,
    query=NoQuery,
    body=NoBody,
    replies={200: Reply("The numbers as they are now.", Scaling)},
)
def read_scaling(call: Call[NoQuery, NoBody]) -> Answer:
    """Tell an autoscaler how many workers the work needs, and why.

    Slots: arrivals times mean run time (Little's law), and what waits times mean run time over the time in which a
    backlog should be gone, but no more than the limits of the queue allow, and no less than what runs.
    For a key of some queues: theirs, and the workers that serve them.
    """
    settings, principal = call.backend.api_settings, call.principal
    flow = call.backend.store.flow.read()
    flow = FlowView(
        tuple(each for each in flow.queues if principal.is_for_queue(each.queue.name)),
        tuple(visible_workers(principal, flow.workers)),
    )
    targets = Targets(settings.scaling_drain_seconds, settings.scaling_slots_per_worker)
    return Answer(200, scaling_view(flow, targets))
