"""``celery inspect`` and ``celery control`` from a program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.celery import tasks
from tests.celery.diary import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.celery.diary import Diary
    from tests.celery.workers import Site

NAME = "controlled@here"


@pytest.fixture(scope="module", params=["prefork", "threads"])
def controlled(
    request: pytest.FixtureRequest, open_site: Callable[..., AbstractContextManager[Site]]
) -> Iterator[Site]:
    """A site with a worker that nothing else uses; ``threads`` cannot grow, so both pools are asked."""
    options = ("--pool", request.param, "--concurrency", "1", "--hostname", NAME, "--without-mingle")
    with open_site(*options) as site:
        site.app.set_current()
        yield site


@pytest.fixture
def inspect(controlled: Site) -> Any:
    """``app.control.inspect()`` of the one worker; it answers as soon as that has."""
    return controlled.app.control.inspect([NAME], limit=1, timeout=PATIENCE)


def order(site: Site, command: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """Call a method of ``app.control`` and return what the worker answers."""
    [answer] = getattr(site.app.control, command)(
        *args, destination=[NAME], reply=True, limit=1, timeout=PATIENCE, **kwargs
    )
    answered: dict[str, Any] = answer[NAME]
    return answered


def active_tasks(inspect: Any, number: int) -> list[dict[str, Any]]:
    """What runs, once the worker knows of so many: a task may have told the diary that it runs before it knows."""
    while len(active := inspect.active()[NAME]) < number:
        pass
    found: list[dict[str, Any]] = active
    return found


def test_ping(controlled: Site, inspect: Any) -> None:
    assert inspect.ping() == {NAME: {"ok": "pong"}}
    assert controlled.app.control.ping(timeout=PATIENCE, limit=1) == [{NAME: {"ok": "pong"}}]


def test_what_is_registered(inspect: Any) -> None:
    assert {"add", "fail", "watched"} < set(inspect.registered()[NAME])


def test_what_runs_and_what_is_known_of_a_task(inspect: Any, diary: Diary) -> None:
    running = tasks.wait.delay(page := "control active")
    diary.next(running.id)

    [active] = active_tasks(inspect, 1)
    [[state, known]] = inspect.query_task(running.id)[NAME].values()

    assert (active["id"], active["name"], active["args"]) == (running.id, "wait", ["control active"])
    assert active["delivery_info"]["routing_key"] == "celery"
    assert (state, known["id"]) == ("active", running.id)
    diary.note(page, "on")
    assert running.get(timeout=PATIENCE) == "on"
    assert inspect.active()[NAME] == []


def test_nothing_is_reserved_that_another_worker_could_run(inspect: Any, diary: Diary) -> None:
    running, behind = tasks.wait.delay(page := "control reserved"), tasks.add.delay(1, 1)
    diary.next(running.id)
    active_tasks(inspect, 1)

    assert (inspect.reserved()[NAME], inspect.scheduled()[NAME]) == ([], [])
    assert behind.state == "PENDING"

    diary.note(page, "on")
    assert behind.get(timeout=PATIENCE) == 2


def test_statistics(controlled: Site, inspect: Any) -> None:
    tasks.add.delay(1, 1).get(timeout=PATIENCE)

    stats = inspect.stats()[NAME]

    assert stats["total"]["add"] >= 1
    assert stats["broker"]["transport"] == "backroom"
    assert stats["pool"]["max-concurrency"] >= 1
    assert controlled.worker is not None
    assert stats["pid"] == controlled.worker.process.pid


def test_the_configuration_and_a_report(inspect: Any) -> None:
    assert inspect.conf()[NAME]["result_extended"] is True
    assert "celery" in inspect.report()[NAME]["ok"]
    assert inspect.clock()[NAME]["clock"] > 0


def test_revoked_tasks_are_listed(controlled: Site, inspect: Any) -> None:
    answer = order(controlled, "revoke", "some-id")

    assert "some-id" in answer["ok"]
    assert inspect.revoked()[NAME] == ["some-id"]


def test_queues_are_added_and_left(controlled: Site, inspect: Any) -> None:
    waiting = tasks.add.apply_async((1, 1), queue="added")
    assert {queue["name"] for queue in inspect.active_queues()[NAME]} >= {"celery", "pictures"}

    order(controlled, "add_consumer", "added")

    assert waiting.get(timeout=PATIENCE) == 2
    assert "added" in {queue["name"] for queue in inspect.active_queues()[NAME]}

    order(controlled, "cancel_consumer", "added")
    while "added" in {queue["name"] for queue in inspect.active_queues()[NAME]}:
        pass  # Celery answers first and then does it
    left, after = tasks.add.apply_async((1, 1), queue="added"), tasks.add.delay(1, 1)
    assert after.get(timeout=PATIENCE) == 2
    assert left.state == "PENDING"


def test_a_pool_grows_and_shrinks(controlled: Site, inspect: Any, diary: Diary) -> None:
    if "thread" in inspect.stats()[NAME]["pool"]["implementation"]:
        assert "error" in order(controlled, "pool_grow", 1)
        return
    order(controlled, "pool_grow", 1)
    both = [tasks.wait.delay(f"grown {number}") for number in range(2)]
    for result in both:
        diary.next(result.id)  # both run at once
    assert {task["id"] for task in active_tasks(inspect, 2)} == {result.id for result in both}
    for number in range(2):
        diary.note(f"grown {number}", number)
    assert [result.get(timeout=PATIENCE) for result in both] == [0, 1]

    order(controlled, "pool_shrink", 1)

    assert inspect.stats()[NAME]["pool"]["max-concurrency"] == 1
    assert tasks.add.delay(1, 1).get(timeout=PATIENCE) == 2


def test_rate_limits_are_accepted_and_change_nothing(controlled: Site) -> None:
    assert "ok" in order(controlled, "rate_limit", "add", "1/h")

    results = [tasks.add.delay(n, n) for n in range(3)]

    assert [result.get(timeout=PATIENCE) for result in results] == [0, 2, 4]


def test_events_are_switched_on_and_off(controlled: Site) -> None:
    assert "ok" in order(controlled, "enable_events")
    assert tasks.add.delay(1, 1).get(timeout=PATIENCE) == 2
    assert "ok" in order(controlled, "disable_events")


def test_a_worker_that_hears_shutdown_ends(open_site: Callable[..., AbstractContextManager[Site]]) -> None:
    with open_site("--pool", "threads", "--hostname", NAME, "--without-mingle") as site:
        site.app.control.shutdown()

        assert site.worker is not None
        assert site.worker.exit_code() == 0
