"""An application moves here by changing its two URLs, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.celery.diary import PATIENCE
from tests.celery.workers import ROOT, Worker, celery_environment

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from backroom.local.server import EmbeddedServer
    from tests.celery.workers import Site

#: The whole application: a module in a folder of its own.
PROJECT = """
from celery import Celery, group

app = Celery("shop", broker="{url}", backend="{url}")

@app.task
def price(pieces, each):
    return pieces * each

@app.task
def total(prices):
    return sum(prices)
"""
CLIENT = """
import sys
from shop import group, price, total

assert not [name for name in sys.modules if name.startswith("backroom.engine.transport")]
checkout = (group(price.s(2, 10), price.s(1, 5)) | total.s()).delay()
print(price.delay(3, 7).get(timeout={patience}), checkout.get(timeout={patience}), price.app.backend.as_uri())
"""


def run(folder: Path, code: str) -> str:
    """What a Python program in the project's folder prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=celery_environment(),
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_urls_are_all_that_changes(tmp_path: Path, celery_server: EmbeddedServer) -> None:
    url = f"backroom://127.0.0.1:{celery_server.port}/200"
    (tmp_path / "shop.py").write_text(PROJECT.format(url=url))
    worker = Worker(app="shop", environment={"PYTHONPATH": str(tmp_path)})
    try:
        worker.wait_until_ready()

        assert run(tmp_path, CLIENT.format(patience=PATIENCE)).split() == ["21", "25", "backroom://"]
    finally:
        worker.stop()


@pytest.mark.parametrize(
    "url",
    [
        "backroom://127.0.0.1:{port}/201",
        "backroom://:@127.0.0.1:{port}/201",
        "backroom+redis://127.0.0.1:{port}/201",
        "backroom+redis://127.0.0.1:{port}/201?socket_connect_timeout=3",
    ],
)
def test_forms_of_the_url(tmp_path: Path, celery_server: EmbeddedServer, url: str) -> None:
    (tmp_path / "shop.py").write_text(PROJECT.format(url=url.format(port=celery_server.port)))
    code = "from shop import price; result = price.delay(1, 1); print(result.state, result.id)"

    state, task_id = run(tmp_path, code).split()

    assert state == "PENDING"
    code = f"from shop import app; print(app.backend.store.inspection.get({task_id!r}).name)"
    assert run(tmp_path, code).strip() == "shop.price"


def test_a_unix_socket(tmp_path: Path, server: EmbeddedServer) -> None:
    if server.socket is None:
        pytest.skip("the folder of this run has too long a name for a socket")
    url = f"backroom+unix://{server.socket}?db=3"
    (tmp_path / "shop.py").write_text(PROJECT.format(url=url))
    code = "from shop import app, price; print(app.backend.store.inspection.get(price.delay(1, 1).id).state)"

    assert run(tmp_path, code).strip() == "waiting"


def test_the_older_task_protocol_is_refused(tmp_path: Path, celery_server: EmbeddedServer) -> None:
    url = f"backroom://127.0.0.1:{celery_server.port}/201"
    (tmp_path / "shop.py").write_text(PROJECT.format(url=url) + "app.conf.task_protocol = 1\n")
    code = "from shop import price\ntry: price.delay(1, 1)\nexcept ValueError as error: print(error)"

    assert "needs task_protocol = 2" in run(tmp_path, code)


def test_sites_on_one_server_do_not_hear_each_other(
    open_site: Callable[..., AbstractContextManager[Site]], on_threads: Site
) -> None:
    with open_site() as other:
        assert other.app.control.ping(timeout=0.5) == []
        assert on_threads.app.control.ping(timeout=PATIENCE, limit=1)


def test_celerys_own_beat_sends_to_the_store(unserved: Site, tmp_path: Path) -> None:
    beat = subprocess.Popen(
        [
            *(sys.executable, "-m", "celery", "-A", "tests.celery.plain", "beat"),
            *("--schedule", str(tmp_path / "beat"), "--pidfile", ""),
        ],
        cwd=ROOT,
        env=celery_environment(**unserved.environment, CELERY_TEST_BEAT="0.2"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        seen, position = [], "0-0"
        while len(seen) < 2:
            events = unserved.store.events.read(position, block_ms=1000)
            assert beat.poll() is None
            position = events[-1].id if events else position
            seen += [event for event in events if event.type == "added" and event.name == "add"]
    finally:
        beat.terminate()
        beat.wait(PATIENCE)
