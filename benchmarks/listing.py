"""Time of a page of jobs, in every order and with every filter, from a store that holds many.

    python -m benchmarks.listing [--jobs 200000]

For each query: the first pages (at most ten), of 50 jobs each. ``store`` is the time that Redis worked for one page,
``page`` the time a caller waited; both in ms, the median and the longest.
"""

import argparse
import json
import statistics
import tempfile
import time
from datetime import timedelta
from itertools import count, product
from pathlib import Path
from typing import Any

from backroom.local.server import EmbeddedServer
from backroom.model.job import NewJob, new_job
from backroom.model.options import parse_options
from backroom.model.states import FINISHED, State
from backroom.store import JobQuery, Store, connect
from backroom.store.execution import Outcome
from benchmarks.machine import describe_machine

__all__: list[str] = []

BULK = 1000
PAGES = 10
#: A traceback of a usual length.
ERROR = json.dumps({"type": "ConnectionError", "message": "no route to host", "traceback": "File ...\n" * 200})

FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "a queue": {"queues": ["queue-1"]},
    "a name": {"names": ["name-3"]},
    "a tag of half the jobs": {"tags": ["half"]},
    "a tag of 20 jobs": {"tags": ["rare"]},
    "a tag of 1 % in a queue without it": {"tags": ["hundredth"], "queues": ["queue-2"]},
    "a user": {"user_ids": ["user-7"]},
    "a second of creation": {},
    "words that half the jobs have": {"q": "half"},
    "words that no job has": {"q": "nowhere"},
}
ORDERS: dict[str, tuple[State, ...]] = {
    "createdAt": (),
    "finishedAt": tuple(sorted(FINISHED)),
    "runAt": (State.DELAYED,),
    "priority": (State.WAITING,),
}


def a_job(at: int, **options: Any) -> NewJob:
    """The ``at``-th job: of ten queues, names and priorities, of a thousand users."""
    tags = ["half"] * (at % 2) + ["hundredth"] * (at % 100 == 0)
    return new_job(
        name=f"name-{at // 10 % 10}",
        queue=f"queue-{at % 10}",
        data={"userId": f"user-{at % 997}", "text": "x" * 100},
        options=parse_options({"tags": tags, "priority": at // 7 % 10, **options}),
    )


def fill(store: Store, number: int) -> None:
    """The oldest tenth failed, then most completed, the newest tenths are delayed and waiting."""
    place, token = count(), count()

    def submit(jobs: int, **options: Any) -> None:
        for _ in range(jobs // BULK):
            store.submission.submit([a_job(next(place), **options) for _ in range(BULK)])

    def run(jobs: int, **ending: Any) -> None:
        outcomes: list[Outcome] = []
        for _ in range(jobs // BULK + 1):
            held = f"fill.{next(token)}"
            answer = store.execution.exchange(
                worker="fill", token=held, lease_ms=600_000, outcomes=outcomes, room=BULK if jobs else 0, served=None
            )
            outcomes = [Outcome(id=job.id, token=held, **ending) for job in answer.claimed]

    tenth = number // 10
    submit(tenth)
    run(tenth, outcome="failed", error=ERROR)
    for _ in range(7):
        submit(tenth)
        run(tenth, outcome="completed", result="{}")
    submit(tenth, delay=86_400_000)
    submit(tenth)
    rare = parse_options({"tags": ["rare"]})
    store.submission.submit(
        [new_job(name="name-1", queue="queue-1", data={"at": at}, options=rare) for at in range(20)]
    )


def measure(store: Store, query: dict[str, Any]) -> dict[str, Any]:
    """The first pages of a list."""
    waited, worked, found, cursor, short = [], [], 0, None, 0
    for _ in range(PAGES):
        store.redis.config_resetstat()
        start = time.perf_counter()
        page = store.listing.page(JobQuery(cursor=cursor, **query))
        waited.append((time.perf_counter() - start) * 1000)
        stats = store.redis.info("commandstats")
        worked.append(sum(each["usec"] for name, each in stats.items() if "config" not in name) / 1000)
        found, cursor = found + len(page.jobs), page.next
        short += cursor is not None and len(page.jobs) < 50
        if cursor is None:
            break
    return {
        "pages": len(waited),
        "jobs": found,
        "short": short,
        "page": f"{statistics.median(waited):.1f} / {max(waited):.1f}",
        "store": f"{statistics.median(worked):.1f} / {max(worked):.1f}",
    }


def main() -> None:
    """Fill a store and print a table."""
    parser = argparse.ArgumentParser(description="Time of a page of jobs.")
    parser.add_argument("--jobs", type=int, default=200_000)
    wanted = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer(Path(folder), appendonly=False) as server:
        store = Store(connect(server.url, timeout=30))
        fill(store, wanted.jobs)
        counts = {state: sum(queue.counts[state] for queue in store.queues.list()) for state in State}
        print(", ".join(f"{number} {state}" for state, number in counts.items() if number))
        print(
            f"{'order':12} {'state':10} {'filter':36} {'pages':>5} {'jobs':>5} {'short':>5} {'page':>14} {'store':>14}"
        )
        [oldest] = store.listing.page(JobQuery(sort="createdAt", limit=1)).jobs
        second = {"from_": oldest.created_at + timedelta(seconds=1), "to": oldest.created_at + timedelta(seconds=2)}
        for order, states in [*ORDERS.items(), ("createdAt", (State.FAILED,))]:
            shown = states[0] if len(states) == 1 else "finished" if states else ""
            for sort, (name, chosen) in product(("-" + order, order), FILTERS.items()):
                bounds = second if "creation" in name else {}
                row = measure(store, {"sort": sort, "states": states, **chosen, **bounds})
                print(
                    f"{sort:12} {shown:10} {name:36} {row['pages']:5} {row['jobs']:5} {row['short']:5} "
                    f"{row['page']:>14} {row['store']:>14}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
