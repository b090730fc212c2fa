"""Fixtures: one server for this folder, with a database for each site; a site is an application, a store and a worker.

The sites `prefork` and `threads` live as long as the test run: starting a worker takes longer than most tests.
"""

from __future__ import annotations

from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING

import pytest

from backroom.local.server import EmbeddedServer
from backroom.store import Store, connect
from tests.celery.diary import Diary
from tests.celery.plain import make_app
from tests.celery.workers import Site, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from celery import Celery

#: The diary has database 0.
_databases = count(1)


@pytest.fixture(scope="session")
def celery_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server with a database for each site."""
    with EmbeddedServer(tmp_path_factory.mktemp("celery"), appendonly=False, extra={"databases": "256"}) as server:
        yield server


@pytest.fixture(scope="session")
def diary(celery_server: EmbeddedServer) -> Iterator[Diary]:
    """What tasks tell their tests."""
    diary = Diary(celery_server.url)
    yield diary
    diary.close()


@pytest.fixture(scope="session")
def open_site(celery_server: EmbeddedServer) -> Callable[..., AbstractContextManager[Site]]:
    """Opens a site on an empty database; ``options`` start a worker there, ``settings`` are the application's."""

    @contextmanager
    def opened(*options: str, **settings: object) -> Iterator[Site]:
        database = next(_databases)
        redis_url = f"redis://127.0.0.1:{celery_server.port}/{database}"
        url = f"backroom://127.0.0.1:{celery_server.port}/{database}"
        client = connect(redis_url, timeout=10)
        app = make_app(url, **settings)
        environment = {
            "CELERY_TEST_URL": url,
            "DIARY_URL": celery_server.url,
            # Some tests leave threads behind that hang, and no test waits for jobs that expire longer than it must.
            "BACKROOM_SHUTDOWN_GRACE_SECONDS": "2",
            "BACKROOM_WORKER_SWEEP_SECONDS": "0.5",
        }
        site = Site(url, app, Store(client), environment)
        try:
            if options:
                site.worker = Worker(*options, environment=environment)
                site.wait_until_ready(site.worker)
            yield site
        finally:
            if site.worker is not None:
                site.worker.stop()
            app.close()
            client.close()

    return opened


@pytest.fixture(scope="session")
def prefork(open_site: Callable[..., AbstractContextManager[Site]]) -> Iterator[Site]:
    """A site with a worker of two processes."""
    with open_site("--pool", "prefork", "--concurrency", "2", "--hostname", "prefork@%h") as site:
        yield site


@pytest.fixture(scope="session")
def threads(open_site: Callable[..., AbstractContextManager[Site]]) -> Iterator[Site]:
    """A site with a worker of four threads."""
    with open_site("--pool", "threads", "--concurrency", "4", "--hostname", "threads@%h") as site:
        yield site


@pytest.fixture(params=["prefork", "threads"])
def site(request: pytest.FixtureRequest) -> Site:
    """The sites with a worker, one after the other; its application is the current one."""
    found: Site = request.getfixturevalue(request.param)
    found.app.set_current()
    return found


@pytest.fixture
def app(site: Site) -> Celery:
    """The application of the site."""
    return site.app


@pytest.fixture
def on_threads(threads: Site) -> Site:
    """The site with the threads pool, for what does not depend on the pool; its application is the current one."""
    threads.app.set_current()
    return threads


@pytest.fixture
def on_prefork(prefork: Site) -> Site:
    """The site with the prefork pool; its application is the current one."""
    prefork.app.set_current()
    return prefork


@pytest.fixture
def unserved(open_site: Callable[..., AbstractContextManager[Site]]) -> Iterator[Site]:
    """A site of the test's own without a worker; its application is the current one."""
    with open_site() as site:
        site.app.set_current()
        yield site
