"""One running stack for all tests that need one, on the engine of this machine."""

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.compose.stack import OWN_SERVICES, Stack


@pytest.fixture(scope="session")
def engine() -> None:
    """A container engine with Compose. Without one the tests are skipped; where CI promises one, they fail."""
    missing = None
    if shutil.which("docker") is None:
        missing = "there is no `docker` on PATH"
    else:
        for command in (["docker", "compose", "version"], ["docker", "info"]):
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            if done.returncode != 0:
                missing = f"`{' '.join(command)}` failed: {done.stderr.strip()}"
                break
    if missing is None:
        return
    if os.environ.get("BACKROOM_REQUIRE_ENGINE") == "1":
        pytest.fail(f"BACKROOM_REQUIRE_ENGINE=1, but {missing}", pytrace=False)
    pytest.skip(f"no container engine: {missing}")


def _services(stack: Stack) -> list[str]:
    """Every service of the stack; Grafana only where its image is at hand, for no other test needs it."""
    services = stack.config()["services"]
    image = services["grafana"]["image"]
    at_hand = subprocess.run(["docker", "image", "inspect", image], capture_output=True, timeout=60).returncode == 0
    return [name for name in services if at_hand or name != "grafana"]


@pytest.fixture(scope="session")
def stack(engine: None, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The stack as it stands in the repository: built, and up as far as `docker compose up --wait` says."""
    running = Stack(BACKROOM_SCRAPE_INTERVAL="1s")
    failed_before = request.session.testsfailed
    try:
        running.build(*OWN_SERVICES)
        running.up(*_services(running))
        running.first_answer = running.call("POST", "/jobs/enqueue", {"userId": "first", "payload": {}})
        yield running
    finally:
        if request.session.testsfailed > failed_before:
            print(running.compose("logs", "--no-color", "--tail", "40"))  # noqa: T201 - pytest shows it with the failure
        running.remove()
