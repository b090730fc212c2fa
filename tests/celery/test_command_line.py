"""The ``celery`` command line, as an operator uses it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from celery.utils.nodenames import gethostname

from tests.celery import tasks
from tests.celery.diary import PATIENCE
from tests.celery.workers import ROOT, Worker, celery_environment

if TYPE_CHECKING:
    from tests.celery.diary import Diary
    from tests.celery.workers import Site

SECONDS = 60
#: The one worker whose answer is waited for, for as long as it takes.
ASKED = ("--destination", f"threads@{gethostname()}", "--timeout", str(PATIENCE))


def celery(site: Site, *words: str, code: int = 0) -> str:
    """What ``celery -A <the application> ...`` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "tests.celery.plain", *words],
        cwd=ROOT,
        env=celery_environment(**site.environment),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_calling_a_task_and_reading_its_result(on_threads: Site) -> None:
    task_id = celery(on_threads, "call", "add", "--args", "[2, 3]").strip()

    assert on_threads.app.AsyncResult(task_id).get(timeout=PATIENCE) == 5
    assert celery(on_threads, "result", task_id).strip() == "5"


def test_calling_a_task_for_later(unserved: Site) -> None:
    task_id = celery(unserved, "call", "add", "--kwargs", '{"x": 1, "y": 2}', "--countdown", "600").strip()

    job = unserved.store.inspection.get(task_id)
    assert (job.state, job.data) == ("delayed", {"x": 1, "y": 2})


def test_the_status_of_workers(on_threads: Site) -> None:
    printed = celery(on_threads, "status", *ASKED)

    assert re.search(r"threads@\S+: OK", printed)
    assert "node online." in printed


def test_inspecting_workers(on_threads: Site, diary: Diary) -> None:
    result = tasks.wait.delay(page := "command line")
    diary.next(result.id)

    answer = json.loads(celery(on_threads, "inspect", "active", "--json", *ASKED))

    [active] = answer.values()
    assert [task["id"] for task in active] == [result.id]
    diary.note(page, "on")
    assert result.get(timeout=PATIENCE) == "on"


def test_controlling_workers(on_threads: Site) -> None:
    assert "started" not in celery(on_threads, "control", *ASKED, "enable_events")
    assert "ok" in celery(on_threads, "control", *ASKED, "disable_events").lower()


def test_revoking_by_command(unserved: Site) -> None:
    result = tasks.add.delay(1, 1)

    celery(unserved, "control", "--timeout", "0.5", "terminate", "SIGKILL", result.id, code=69)  # no worker answers

    assert result.state == "REVOKED"


def test_purging_the_queues(unserved: Site) -> None:
    for _ in range(3):
        tasks.add.delay(1, 1)

    assert "Purged 3 messages" in celery(unserved, "purge", "--force")


def test_a_report_shows_no_password(unserved: Site) -> None:
    unserved.environment["CELERY_TEST_URL"] = "backroom://:sesame@127.0.0.1:1/0"

    report = celery(unserved, "report")

    assert "transport:backroom" in report
    assert "sesame" not in report


def test_a_worker_that_cannot_reach_the_store_says_so(unserved: Site) -> None:
    unserved.environment["CELERY_TEST_URL"] = "backroom://127.0.0.1:1/0"

    printed = celery(unserved, "inspect", "ping", code=69)

    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        # As with the pools of greenlets, which Celery offers where gevent or eventlet are installed.
        ({"CELERY_CUSTOM_WORKER_POOL": "tests.celery.workers:OwnPool"}, "in the pools prefork, threads and solo"),
        ({"BACKROOM_LEASE_SECONDS": "soon"}, "should be a valid number"),
    ],
)
def test_a_worker_that_could_not_run_jobs_does_not_start(
    unserved: Site, environment: dict[str, str], said: str
) -> None:
    options = ("--pool", "custom") if "CELERY_CUSTOM_WORKER_POOL" in environment else ()
    worker = Worker(*options, environment={**unserved.environment, **environment})

    assert worker.exit_code() != 0
    assert said in worker.printed


def test_a_pool_of_one_is_enough(unserved: Site) -> None:
    with unserved.another_worker("--pool", "solo", "--without-mingle"):
        assert [tasks.add.delay(n, n).get(timeout=PATIENCE) for n in range(3)] == [0, 2, 4]
