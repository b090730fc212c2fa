from typing import Any

from backroom.local.server import EmbeddedServer
from backroom.model.job_types import JobType
from backroom.store import Store, WorkerView, connect
from services.worker.health import ailment

HEAVY = JobType(name="heavy-task", queue="default", description="", schema={}, defaults={}, workers=0)


def worker(host: str, **differing: Any) -> WorkerView:
    usual = {"pid": 1, "queues": None, "pool": "prefork", "slots": 2, "busy": 0, "jobs": (), "started_at": 0}
    return WorkerView(id=f"worker@{host}", host=host, **(usual | differing))


def test_a_worker_that_has_reported_and_offers_its_jobs_is_healthy(store: Store) -> None:
    store.workers.beat(worker("here"))
    store.job_types.publish("worker@here", [HEAVY], ttl_seconds=60)
    assert ailment(store, host="here") is None


def test_a_worker_that_never_reported_is_not_healthy_whatever_others_do(store: Store) -> None:
    store.workers.beat(worker("elsewhere"))
    store.job_types.publish("worker@elsewhere", [HEAVY], ttl_seconds=60)
    assert ailment(store, host="here") == "no worker of here has reported to the job store lately"


def test_a_worker_whose_jobs_cannot_be_submitted_yet_is_not_healthy(store: Store) -> None:
    store.workers.beat(worker("here"))
    assert ailment(store, host="here") == "no worker has published its job types yet"


def test_without_the_job_store_no_worker_is_healthy(own_server: EmbeddedServer, key_prefix: str) -> None:
    store = Store(connect(own_server.url, timeout=1), prefix=key_prefix)
    own_server.stop()
    assert str(ailment(store, host="here")).startswith("the job store cannot be asked")
