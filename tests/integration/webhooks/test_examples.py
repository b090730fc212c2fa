"""The receivers of the documentation, each run as a reader would run it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
import requests

from backroom.local.server import HeldPort
from backroom.model.webhooks import new_secret, signature
from tests.integration.api.service import ROOT
from tests.integration.engine.stage import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = ROOT / "docs" / "examples" / "webhooks"
PAGE = ROOT / "docs" / "webhooks.md"
EXAMPLES = {"receive.py": sys.executable, "receive.mjs": "node"}
BODY = b'{"type":"job.completed","timestamp":"2030-01-31T09:00:00.000Z","data":{"id":"j1","state":"completed"}}'


@contextmanager
def running(file: str, secret: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The example as a process, and its address, once it answers."""
    program = shutil.which(EXAMPLES[file])
    if program is None:
        pytest.skip(f"there is no {EXAMPLES[file]} on this machine")
    held = HeldPort()
    environment = {**os.environ, "WEBHOOK_SECRET": secret, "PORT": str(held.number)}
    process = subprocess.Popen([program, str(FOLDER / file)], env=environment, stdout=subprocess.PIPE, text=True)
    url = f"http://127.0.0.1:{held.number}/"

    def answers() -> bool:
        assert process.poll() is None
        with suppress(requests.ConnectionError):
            return requests.post(url, data=b"{}", timeout=10).status_code == 400
        return False

    try:
        eventually(answers)
        yield url, process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        held.release()


def send(url: str, secrets: list[str], body: bytes = BODY, *, message_id: str = "msg_1", age: int = 0) -> int:
    timestamp = int(time.time()) - age
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(secrets, message_id=message_id, timestamp=timestamp, body=BODY),
    }
    return requests.post(url, data=body, headers=headers, timeout=30).status_code


@pytest.mark.parametrize("file", EXAMPLES)
def test_a_receiver_of_the_documentation_takes_what_is_ours_once_and_nothing_else(file: str) -> None:
    secret, new = new_secret(), new_secret()
    with running(file, secret) as (url, process):
        assert send(url, [secret]) == 204
        assert send(url, [new, secret]) == 204  # again, while secrets are exchanged
        assert send(url, [new]) == 400
        assert send(url, [secret], BODY + b" ") == 400
        assert send(url, [secret], age=600) == 400
        assert send(url, [secret], message_id="msg_2") == 204
        process.kill()
        assert process.stdout is not None
        printed = process.stdout.read()

    assert printed.splitlines() == ["job.completed j1 completed"] * 2


def test_every_receiver_is_run_and_named_in_the_documentation() -> None:
    assert {file.name for file in FOLDER.iterdir()} == set(EXAMPLES)
    page = PAGE.read_text("utf-8")
    assert [file for file in EXAMPLES if f"(examples/webhooks/{file})" not in page] == []
