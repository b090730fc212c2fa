from backroom.local.server import EmbeddedServer
from backroom.store import Store, connect
from services.scheduler.health import LATE_SECONDS, ailment


def ticked(store: Store, scheduler: str, *, seconds_ago: float) -> None:
    """Leave the trace of a scheduler's round in the past."""
    store.workers.tick(scheduler)
    now = store.workers.scheduler_ticks()[scheduler]
    store.redis.zadd(store.keys.single("schedulers"), {scheduler: now - seconds_ago})


def test_a_scheduler_that_does_its_rounds_is_healthy(store: Store) -> None:
    store.workers.tick("scheduler@here-7")
    assert ailment(store, host="here") is None


def test_a_scheduler_that_never_did_a_round_is_not_healthy_whatever_others_do(store: Store) -> None:
    store.workers.tick("scheduler@elsewhere-7")
    assert ailment(store, host="here") == "no scheduler of here has done its rounds yet"


def test_a_scheduler_whose_last_round_was_long_ago_is_not_healthy(store: Store) -> None:
    ticked(store, "scheduler@here-7", seconds_ago=LATE_SECONDS + 5)
    assert str(ailment(store, host="here")).startswith("the scheduler's last round was 2")


def test_a_scheduler_that_took_the_place_of_a_killed_one_is_healthy(store: Store) -> None:
    ticked(store, "scheduler@here-7", seconds_ago=3600)
    store.workers.tick("scheduler@here-8")
    assert ailment(store, host="here") is None


def test_without_the_job_store_no_scheduler_is_healthy(own_server: EmbeddedServer, key_prefix: str) -> None:
    store = Store(connect(own_server.url, timeout=1), prefix=key_prefix)
    own_server.stop()
    assert str(ailment(store, host="here")).startswith("the job store cannot be asked")
