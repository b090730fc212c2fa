"""What a user changes about the stack: a job of one's own, a Redis of one's own."""

import json
import shutil
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from uuid import uuid4

import pytest

from tests.compose.stack import OWN_SERVICES, ROOT, Stack, eventually, run

pytestmark = [pytest.mark.compose, pytest.mark.timeout(1200)]

OWN_JOB = '''
"""Greetings."""

from pydantic import BaseModel

from backroom import job


class Greeting(BaseModel):
    name: str


@job("greet", queue="greetings")
def greet(data: Greeting) -> dict[str, str]:
    """Greet somebody."""
    return {"greeting": f"Hello {data.name}"}
'''


def test_a_file_in_the_jobs_folder_and_a_rebuild_make_a_new_job(engine: None, tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT, checkout, ignore=shutil.ignore_patterns(".git", ".venv", ".data", "__pycache__", ".*_cache"))
    stack = Stack(checkout)
    try:
        stack.build("api", "worker")
        stack.up("api", "worker")
        body = {"name": "greet", "data": {"name": "Ada"}}
        assert stack.call("POST", "/v1/jobs", body).status_code == 422, "nobody offers it yet"

        (checkout / "services" / "worker" / "jobs" / "greetings.py").write_text(OWN_JOB)
        stack.build("worker")
        stack.up("worker")
        posted = stack.call("POST", "/v1/jobs", body)
        assert posted.status_code == 202, posted.text
        assert stack.finished(posted.json()["id"])["result"] == {"greeting": "Hello Ada"}
    finally:
        stack.remove()


@pytest.fixture
def redis_elsewhere(engine: None) -> Iterator[str]:
    """The address of a Redis outside of every Compose project, as containers reach it."""
    name = f"backroom-test-redis-{uuid4().hex[:8]}"
    image = Stack().config()["services"]["redis"]["image"]
    # The engine's own end of its default network: every container reaches it, and nobody outside this machine.
    config = json.loads(run("docker", "network", "inspect", "bridge"))[0]["IPAM"]["Config"][0]
    host = config.get("Gateway") or str(next(ip_network(config["Subnet"]).hosts()))
    run("docker", "run", "--detach", "--name", name, "--publish", f"{host}::6379", image,
        "redis-server", "--protected-mode", "no", "--maxmemory-policy", "noeviction")  # fmt: skip
    try:
        eventually(lambda: b"PONG" in run("docker", "exec", name, "redis-cli", "ping"))
        port = run("docker", "port", name, "6379").decode().split()[0].rpartition(":")[2]
        yield f"redis://{host}:{port}/0"
    finally:
        run("docker", "rm", "--force", "--volumes", name)


def test_the_stack_runs_on_a_redis_of_ones_own(redis_elsewhere: str) -> None:
    stack = Stack(overlays=["compose.external-redis.yml"], BACKROOM_REDIS_URL=redis_elsewhere)
    try:
        stack.build(*OWN_SERVICES)
        stack.up(*OWN_SERVICES)
        posted = stack.call("POST", "/jobs/enqueue", {"userId": "u1", "payload": {}})
        assert posted.status_code == 202, posted.text
        assert stack.finished(posted.json()["id"])["state"] == "completed"
        assert not stack.containers("redis")
    finally:
        stack.remove()
