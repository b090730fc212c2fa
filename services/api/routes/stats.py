"""The stack in a few numbers."""

from collections import Counter

from backroom.model.states import State
from services.api.http.access import Access
from services.api.http.answers import Answer
from services.api.http.operation import Call, Reply, Resource
from services.api.http.validation import NoBody, NoQuery
from services.api.schemas import Stats

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
    """Count jobs by state, queues and workers."""
    store, allowed = call.backend.store, call.principal.queues
    queues = [queue for queue in store.queues.list() if allowed is None or queue.name in allowed]
    workers = store.workers.list()
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
