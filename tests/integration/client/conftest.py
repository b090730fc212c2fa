"""Fixtures: a whole stack (store, API, worker) for all tests of the client, which use queues and users of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from backroom.client import Backroom
from backroom.local.server import LONGEST_SOCKET_PATH, EmbeddedServer
from tests.integration.api.service import ROOT, Api

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: A worker that has not started after so many seconds never will.
PATIENCE = 60.0


KEY = "a-key-that-may-do-all-of-it"
KEYS: list[dict[str, Any]] = [
    {"name": "tests", "key": KEY, "roles": ["operate"]},
    {"name": "reader", "key": "a-key-that-may-only-read", "roles": ["read"]},
]


@dataclass(frozen=True)
class Guarded:
    """A second API of the same stack, which wants a key."""

    url: str
    key: str
    #: One that may read and nothing else.
    reading_key: str


class Stack:
    """A running stack."""

    def __init__(self, api: Api, folder: Path, redis_url: str, prefix: str) -> None:
        self.api = api
        self.url = api.url
        self.redis_url, self.prefix = redis_url, prefix
        self._folder = folder

    def let_through(self, gate: str) -> None:
        """Let jobs go on that wait at this gate."""
        (self._folder / gate).touch()


@contextmanager
def worker(url: str, folder: Path, settings: dict[str, str]) -> Iterator[None]:
    """A worker of two slots, ready when it offers its job types."""
    command = [sys.executable, "-W", "ignore", "-m", "celery", "-A", "tests.integration.client.office", "worker"]
    command += ["--pool", "prefork", "--concurrency", "2", "--hostname", "worker-1@office", "--loglevel", "INFO"]
    command += ["--without-mingle", "--without-gossip"]
    output = folder / "worker.log"
    with output.open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **settings, "OFFICE_FOLDER": str(folder)}, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + PATIENCE
        with Backroom(url) as room:
            while not (room.workers.list() and room.job_types()):
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.1)
                assert process.returncode is None, output.read_text()
                assert time.monotonic() < deadline, output.read_text()
        yield
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Its store is its own as well: other tests empty the shared one."""
    folder = tmp_path_factory.mktemp("office")
    socket = folder / "valkey.sock"
    prefix = "office"
    with ExitStack() as running:
        fits = len(bytes(socket)) <= LONGEST_SOCKET_PATH
        server = running.enter_context(EmbeddedServer(folder, socket=socket if fits else None, appendonly=False))
        api = running.enter_context(Api(folder, server.url, prefix))
        settings = {"BACKROOM_REDIS_URL": server.url, "BACKROOM_KEY_PREFIX": prefix, "BACKROOM_LEASE_SECONDS": "6"}
        running.enter_context(worker(api.url, folder, {**settings, "BACKROOM_SWEEP_SECONDS": "0.5"}))
        yield Stack(api, folder, server.url, prefix)


@pytest.fixture(scope="session")
def guarded(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """The stack, behind keys."""
    folder = tmp_path_factory.mktemp("guarded")
    with Api(folder, stack.redis_url, stack.prefix, BACKROOM_API_KEYS=json.dumps(KEYS)) as api:
        yield Guarded(api.url, KEY, KEYS[1]["key"])


@pytest.fixture
def room(stack: Stack) -> Iterator[Backroom]:
    """A client of the stack."""
    with Backroom(stack.url) as client:
        yield client


@pytest.fixture
def name() -> str:
    """A name that no other test uses: for a queue, a user, a gate, a tag."""
    return f"n-{uuid4().hex[:8]}"
