"""The examples of the documentation, each run as a reader would run it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass

import pytest

from backroom.client import Backroom
from tests.integration.api.service import ROOT

PATIENCE = 100.0
FOLDER = ROOT / "docs" / "examples"


@dataclass(frozen=True)
class Example:
    """A file, and how it is run."""

    file: str
    command: tuple[str, ...]

    def run(self, url: str, key: str | None) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BACKROOM_")}
        environment |= {"BACKROOM_URL": url} if key is None else {"BACKROOM_URL": url, "BACKROOM_KEY": key}
        return subprocess.run(
            [*self.command, str(FOLDER / self.file)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )


EXAMPLES = [
    Example("submit.sh", ("sh",)),
    Example("submit_requests.py", (sys.executable,)),
    Example("submit_sdk.py", (sys.executable,)),
    Example("submit.mjs", ("node",)),
    Example("submit.go", ("go", "run")),
]


@pytest.fixture(params=EXAMPLES, ids=lambda example: example.file)
def example(request: pytest.FixtureRequest) -> Example:
    """One of them; left out where its language is not installed."""
    found: Example = request.param
    if shutil.which(found.command[0]) is None:
        pytest.skip(f"there is no {found.command[0]} on this machine")
    return found


def test_an_example_submits_a_job_and_prints_its_result(stack, room, example):
    run = example.run(stack.url, key=None)
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)
    assert (result["userId"], result["rounds"]) == ("u1", 50)
    word, job_id = run.stderr.split()
    job = room.job(job_id)
    assert (word, job.state, job.result) == ("submitted", "completed", result)
    assert (job.attempts, job.options["backoff"]["delay"]) == (3, 1000)


def test_an_example_sends_the_key(guarded, example):
    run = example.run(guarded.url, guarded.key)
    assert run.returncode == 0, run.stderr
    with Backroom(guarded.url, guarded.key) as room:
        assert room.job(run.stderr.split()[1]).state == "completed"


def test_an_example_shows_what_is_wrong_when_it_is_refused(guarded, example):
    run = example.run(guarded.url, "a-key-of-somebody-else")
    assert run.returncode != 0
    assert run.stdout == ""
    assert "This key is not one of this stack's." in run.stderr


def test_every_example_is_run_and_named_in_the_documentation():
    assert {file.name for file in FOLDER.iterdir() if file.is_file()} == {example.file for example in EXAMPLES}
    page = (ROOT / "docs" / "client.md").read_text("utf-8")
    assert [example.file for example in EXAMPLES if f"(examples/{example.file})" not in page] == []


def test_the_page_about_the_api_does_what_it_says(stack):
    page = (ROOT / "docs" / "api.md").read_text("utf-8")
    script = "\n".join(re.findall(r"^```sh\n(.*?)^```", page, re.DOTALL | re.MULTILINE))
    told = """curl() { command curl -o answer -w '%{http_code} %{url}\\n' "$@"; cat answer; echo; }\n"""
    run = subprocess.run(
        ["sh", "-euc", f'cd "$(mktemp -d)"\n{told}{script}'],
        env={**os.environ, "BACKROOM_URL": stack.url},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert run.returncode == 0, run.stderr
    statuses = re.findall(rf"^(\d+) {re.escape(stack.url)}(\S+)$", run.stdout, re.MULTILINE)
    assert statuses == [
        ("202", "/v1/jobs"),
        ("202", "/jobs/enqueue"),
        ("200", "/v1/jobs/first"),
        ("200", "/v1/jobs/first/result"),
        ("200", "/v1/jobs/first/logs?after=0"),
        ("200", "/v1/jobs?state=completed&tag=demo&limit=10"),
        ("200", "/v1/jobs/first/events"),
        ("200", "/v1/bulk-actions"),
        ("200", "/v1/queues/slow/limits"),
        ("422", "/v1/jobs"),
    ]
    [shown] = re.findall(r'^```json\n(\{"type": "/problems.*?)^```', page, re.DOTALL | re.MULTILINE)
    refused = {**json.loads(run.stdout.splitlines()[-1]), "requestId": "…"}
    assert json.loads(shown) == refused
