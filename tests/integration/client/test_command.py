"""The command as it is installed, in a shell and in a terminal, against a real stack."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backroom.client.cli.program import run

if TYPE_CHECKING:
    from collections.abc import Sequence

PATIENCE = 60.0
PROGRAM = Path(sys.executable).with_name("backroom")


@dataclass(frozen=True)
class Ended:
    """How a command has ended."""

    returncode: int
    stdout: str
    stderr: str


class Command:
    """Runs the command in this process, which is quicker, with the stack in its environment."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: str) -> Ended:
        self._capsys.readouterr()
        code = run(words)
        return Ended(code, *self._capsys.readouterr())

    def out(self, *words: str) -> str:
        """What it prints when all is well."""
        ended = self(*words)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def values(self, *words: str) -> list[dict[str, object]]:
        """What it tells programs."""
        return [json.loads(line) for line in self.out(*words, "--json").splitlines()]


class Shell:
    """Runs the command as a shell does: as it is installed, in a process of its own."""

    def __init__(self, url: str) -> None:
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("BACKROOM_", "NO_COLOR"))}
        self.environment = {**ours, "BACKROOM_URL": url, "TERM": "xterm", "PATH": f"{PROGRAM.parent}:{ours['PATH']}"}

    def script(self, text: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run a shell script."""
        return subprocess.run(
            ["sh", "-euc", text], env=self.environment, input=given, capture_output=True, text=True, timeout=PATIENCE
        )

    def in_a_terminal(self, words: Sequence[str], typed: str = "", **environment: str) -> tuple[int, str]:
        """The exit code, and everything that a terminal has shown; ``typed`` is typed in advance."""
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            [PROGRAM, *words], env={**self.environment, **environment}, stdin=theirs, stdout=theirs, stderr=theirs
        ) as process:
            os.close(theirs)
            os.write(ours, typed.encode())
            shown = b""
            try:
                while part := os.read(ours, 65_536):
                    shown += part
            except OSError:  # the last process has closed the other end
                pass
            os.close(ours)
            return process.wait(PATIENCE), shown.decode()


@pytest.fixture
def backroom(stack, monkeypatch, capsys) -> Command:
    monkeypatch.setenv("BACKROOM_URL", stack.url)
    monkeypatch.delenv("BACKROOM_KEY", raising=False)
    return Command(capsys)


@pytest.fixture
def shell(stack) -> Shell:
    return Shell(stack.url)


def heavy(user: str, **payload: object) -> str:
    return json.dumps({"userId": user, "payload": payload})


def test_a_script_submits_a_job_keeps_its_id_and_reads_its_result(shell, backroom, name):
    run = shell.script(
        f"id=$(backroom submit heavy-task - --tag {name}); backroom result $id --wait", heavy(name, rounds=3)
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["rounds"] == 3
    (job,) = backroom.values("jobs", "--tag", name, "--state", "completed")
    assert "finished: 3 rounds in" in backroom.out("logs", str(job["id"]))


def test_a_script_ends_where_a_job_fails(shell):
    run = shell.script("""backroom submit fail '{"words": "no"}' --wait; echo never""")
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.endswith("is failed: ValueError: no\n")


def test_data_may_come_from_a_file(backroom, name, tmp_path):
    (tmp_path / "data.json").write_text(heavy(name, rounds=2))
    assert json.loads(backroom.out("submit", "heavy-task", f"@{tmp_path / 'data.json'}", "--wait"))["userId"] == name


def test_exit_codes_tell_the_endings_apart(stack, backroom, name):
    gate = json.dumps({"for": name})
    assert backroom("submit", "fail", '{"words": "no"}', "--wait").returncode == 1
    assert backroom("submit", "fail", "{").returncode == 2
    assert backroom("submit", "fail", "{}", "--attempts", "-1").returncode == 3
    assert backroom("jobs", "--url", "http://127.0.0.1:1").returncode == 4
    assert backroom("submit", "gate", gate, "--id", name, "--wait-for", "100ms").returncode == 5
    stack.let_through(name)
    assert backroom("result", name, "--wait").stdout == '"through"\n'


def test_a_terminal_shows_how_a_job_fares_and_then_its_result(stack, shell, name):
    stack.let_through(name)
    code, shown = shell.in_a_terminal(["submit", "gate", json.dumps({"for": name}), "--wait"])
    assert code == 0
    assert re.search(r"\r\x1b\[Kgate [0-9a-f-]{36} is completed after \d", shown)
    assert shown.endswith('\r\x1b[K"through"\r\n')


def test_a_terminal_shows_colours_unless_they_are_refused(shell, backroom, name):
    backroom.out("submit", "heavy-task", heavy(name), "--tag", name, "--wait")
    code, shown = shell.in_a_terminal(["jobs", "--tag", name])
    assert (code, "\x1b[32mcompleted" in shown) == (0, True)
    code, shown = shell.in_a_terminal(["jobs", "--tag", name], NO_COLOR="1")
    assert (code, "\x1b" in shown) == (0, False)


def test_somebody_at_a_terminal_is_asked_before_jobs_are_removed(shell, backroom, name):
    backroom.out("pause", name)
    backroom.out("submit", "heavy-task", heavy(name), "--queue", name)
    code, shown = shell.in_a_terminal(["drain", name], typed="n\n")
    assert (code, "Nothing was removed." in shown) == (0, True)
    code, shown = shell.in_a_terminal(["drain", name], typed="y\n")
    assert (code, f"1 jobs removed from {name}" in shown) == (0, True)


def test_queues_are_emptied(backroom, name):
    backroom.out("pause", name)
    backroom.out("submit", "heavy-task", heavy(name), "--queue", name)
    assert backroom.out("drain", name, "--yes") == f"1 jobs removed from {name}\n"
    assert backroom.out("obliterate", name, "-y") == f"0 jobs removed from {name}\n"


def test_jobs_are_acted_on_one_after_the_other(backroom, name):
    ids = [backroom.out("submit", "heavy-task", heavy(name), "--delay", "1h").strip() for _ in range(3)]
    backroom.out("update", ids[0], "--priority", "4", "--tag", name)
    backroom.out("reschedule", ids[0], "--delay", "2h")
    (job,) = backroom.values("job", ids[0])
    assert (job["priority"], job["tags"], job["state"]) == (4, [name], "delayed")
    assert backroom.out("promote", ids[1]).startswith(f"{ids[1]}  ")
    assert backroom.out("cancel", ids[0], ids[2]) == f"{ids[0]}  cancelled\n{ids[2]}  cancelled\n"
    run = backroom("remove", ids[0], "nowhere", ids[2])
    assert (run.returncode, run.stdout) == (3, f"{ids[0]}  removed\n{ids[2]}  removed\n")
    assert run.stderr == "error: There is no job 'nowhere'.\n"


def test_queues_are_held_and_limited(backroom, name):
    assert backroom.out("pause", name) == f"{name}  paused\n"
    assert backroom.out("limits", name, "--concurrency", "2", "--rate", "10/1s").splitlines() == [
        "concurrency  2",
        "rate         10/1s",
        "max length   no limit",
    ]
    assert "rate         no limit" in backroom.out("limits", name, "--rate", "none").splitlines()
    (line,) = [line for line in backroom.out("queues").splitlines() if line.startswith(name)]
    assert line.endswith("paused, 2 at once")
    assert backroom.out("resume", name) == f"{name}  running\n"
    backroom.out("obliterate", name, "-y")


def test_schedules_are_kept(backroom, name):
    put = backroom.out(
        "schedule", "put", name, "heavy-task", heavy(name, rounds=1), "--cron", "0 3 * * *", "--misfire", "skip"
    )
    assert "pattern  0 3 * * * (UTC)" in put
    job_id = backroom.out("schedule", "run", name).strip()
    assert json.loads(backroom.out("result", job_id, "--wait"))["userId"] == name
    assert name in backroom.out("schedules")
    assert backroom.out("schedule", "rm", name) == f"{name}  removed\n"
    assert backroom("schedule", "show", name).returncode == 3


def test_the_stack_is_described(backroom):
    assert "worker-1@office  running  prefork" in backroom.out("workers")
    assert "heavy-task" in backroom.out("types")
    assert "of 2 slots" in backroom.out("stats")


def test_a_reader_that_has_enough_ends_it_quietly(shell, backroom, name):
    for _ in range(3):
        backroom.out("submit", "heavy-task", heavy(name), "--delay", "1h", "--queue", name)
    run = shell.script(f"backroom jobs --queue {name} --json --limit 0 | head -n 1")
    assert (len(run.stdout.splitlines()), run.stderr) == (1, "")
    backroom.out("obliterate", name, "-y")
