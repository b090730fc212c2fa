"""What docs/compose.md tells the reader to type does what it says."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose.stack import ROOT, Stack

pytestmark = [pytest.mark.compose, pytest.mark.timeout(1200)]


def commands(heading: str) -> str:
    """The shell lines under a heading of docs/compose.md."""
    section = (ROOT / "docs" / "compose.md").read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return "\n".join(re.findall(r"^```sh\n(.*?)^```", section, re.DOTALL | re.MULTILINE))


@pytest.fixture
def other_stack(engine: None) -> Iterator[Stack]:
    """A second project, without anything started."""
    other = Stack()
    yield other
    other.remove()


def test_a_backup_restored_elsewhere_has_the_jobs_and_their_files(
    stack: Stack, other_stack: Stack, tmp_path: Path
) -> None:
    posted = stack.call("POST", "/jobs/enqueue", {"userId": "kept", "payload": {"rounds": 1}})
    job = stack.finished(posted.json()["id"])
    stack.inside("worker", "import pathlib; pathlib.Path('/var/lib/backroom/artifacts/kept.txt').write_text('kept')")

    stack.shell(commands("Back up"), folder=tmp_path)
    other_stack.shell(commands("Restore"), folder=tmp_path)

    other_stack.build("api")
    other_stack.up("api")
    assert other_stack.get(f"/v1/jobs/{job['id']}") == job
    kept = other_stack.compose("run", "--rm", "-T", "worker", "cat", "/var/lib/backroom/artifacts/kept.txt")
    assert kept.strip() == "kept"
