"""How every command ends when the stack is away, refuses, or is something else: made from the list of commands."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import pytest

from backroom.client import Backroom, RetryPolicy
from backroom.client.cli import session
from backroom.client.cli.program import cli, run
from tests.unit.client.scripted import DROP, HANG, Say, Server, Stream, events, job, problem

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM: Final = Path(sys.executable).with_name("backroom")
PATIENCE: Final = 30.0
ACTION: Final = {
    "id": "b1",
    "action": "retry",
    "state": "running",
    "total": 1,
    "succeeded": 0,
    "skipped": 0,
    "failed": 0,
    "filter": None,
    "createdAt": "2030-01-31T09:00:00.000Z",
    "finishedAt": None,
    "detail": None,
}
#: What each command cannot do without. A new command that needs more than that fails: add it.
WORDS: Final[dict[str, list[str]]] = {
    "submit": ["heavy-task"],
    "reschedule": ["j1", "--delay", "5s"],
    "update": ["j1", "--priority", "1"],
    "drain": ["q", "--yes"],
    "clean": ["q", "--yes"],
    "obliterate": ["q", "--yes"],
    "schedule put": ["key", "heavy-task", "--every", "1h"],
    "webhooks add": ["https://example.org/", "--event", "completed"],
    "webhooks update": ["e1", "--disable"],
    "keys create": ["shop", "--role", "submit"],
    **{f"bulk {action}": ["j1"] for action in ("retry", "cancel", "promote", "remove")},
}


def commands(command: click.Command, *path: str) -> Iterator[tuple[str, list[str]]]:
    """Every command, and words that it takes."""
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from commands(below, *path, name)
        return
    name = " ".join(path)
    required = [each for each in command.params if isinstance(each, click.Argument) and each.required]
    yield name, WORDS.get(name, ["x1"] * len(required))


COMMANDS: Final = dict(commands(cli))
HTML: Final = {"Content-Type": "text/html"}
LATER: Final = {"Retry-After": "3600"}
#: What the stack answers, the exit code, and the name of the error.
TROUBLE: Final = {
    "401": (Say(401, problem(401, "unauthorized")), 3, "Unauthorized"),
    "403": (Say(403, problem(403, "forbidden")), 3, "Forbidden"),
    "422": (Say(422, problem(422, "invalid-input")), 3, "InvalidInput"),
    "429 for an hour": (Say(429, problem(429, "too-many-requests"), LATER), 3, "TooManyRequests"),
    "503": (Say(503, problem(503, "store-unavailable")), 3, "Unavailable"),
    "500": (Say(500, problem(500, "internal-error")), 3, "ServerError"),
    "the 401 of a proxy": (Say(401, b"<html>who are you</html>", HTML), 4, "Unauthorized"),
    "the 403 of a proxy": (Say(403, b"<html>no</html>", HTML), 4, "Forbidden"),
    "the 404 of another server": (Say(404, b"<html>not here</html>", HTML), 4, "NotFound"),
    "the 502 of a proxy": (Say(502, b"<html>Bad Gateway</html>", HTML), 4, "ServerError"),
    "the page of another server": (Say(200, b"<html>welcome</html>", HTML), 4, "UnexpectedAnswer"),
    "another server's JSON": (Say(200, {"hello": "world"}), 4, "UnexpectedAnswer"),
    "a way to a page to sign in": (Say(302, b"", {"Location": "https://login.example/"}), 4, "UnexpectedAnswer"),
    "a connection that breaks": (DROP, 4, "Unreachable"),
}
#: Any JSON may be a result.
CASES: Final = sorted({(one, other) for one in COMMANDS for other in TROUBLE} - {("result", "another server's JSON")})


@pytest.fixture
def shell(api: Server, policy: RetryPolicy, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The stack of the environment; pauses between tries take no time."""
    monkeypatch.setattr(session, "Backroom", partial(Backroom, retries=policy))
    monkeypatch.setenv("BACKROOM_URL", api.url)
    monkeypatch.delenv("BACKROOM_KEY", raising=False)
    return api


@pytest.mark.parametrize(("command", "trouble"), CASES)
def test_a_command_that_is_refused_or_finds_something_else(
    shell: Server, capsys: pytest.CaptureFixture[str], command: str, trouble: str
) -> None:
    answer, code, name = TROUBLE[trouble]
    words = [*command.split(), *COMMANDS[command]]
    shell.play(*[answer] * 5)
    assert run([*words, "--json"]) == code
    out, err = capsys.readouterr()
    told: dict[str, Any] = json.loads(err)
    assert (out, told["error"]) == ("", name)
    assert told["detail"]
    if answer is not DROP and answer.headers == LATER:
        assert told["retryAfter"] == 3600
    assert len(shell.asked) <= 5

    shell.script.clear()
    shell.play(*[answer] * 5)
    assert run(words) == code
    out, err = capsys.readouterr()
    assert (out, err.startswith("error: ")) == ("", True)
    assert "None" not in err
    assert ("Try again in 1h." in err) == (trouble == "429 for an hour")
    assert ("BACKROOM_KEY" in err) == (name == "Unauthorized")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_finds_nobody(
    shell: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    monkeypatch.setenv("BACKROOM_URL", url)
    assert run([*command.split(), *COMMANDS[command], "--json"]) == 4
    out, err = capsys.readouterr()
    assert (out, json.loads(err)["error"]) == ("", "Unreachable")
    assert url in json.loads(err)["detail"]


def interrupted(server: Server, words: list[str], *, after: int) -> subprocess.CompletedProcess[str]:
    """How the command ends that gets a Ctrl-C when it has sent so many requests."""
    with subprocess.Popen([PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + PATIENCE
        while len(server.asked) < after:
            assert time.monotonic() < deadline, "it does not ask"
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
        return subprocess.CompletedProcess(words, process.returncode, out, err)


@pytest.mark.parametrize("command", ["jobs", "submit", "cancel", "tail", "stats"])
def test_a_command_that_is_interrupted(shell: Server, command: str) -> None:
    shell.play(Stream(events(("1-0", "added")) if command == "tail" else b"{", HANG))
    ended = interrupted(shell, [*command.split(), *COMMANDS[command]], after=1)
    assert ended.returncode == 130
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("command", "raw", "look"),
    [
        ("submit heavy-task --wait", job(), "backroom result j1 --wait"),
        ("bulk retry j1 --wait", ACTION, "backroom bulk show b1 --wait"),
    ],
)
def test_what_was_begun_is_told_to_one_who_does_not_wait_for_its_end(
    shell: Server, command: str, raw: dict[str, Any], look: str
) -> None:
    shell.play(Say(202, raw), Stream(b"{", HANG))
    ended = interrupted(shell, command.split(), after=2)
    assert (ended.returncode, ended.stdout, look in ended.stderr) == (130, "", True)
    shell.play(Say(202, raw), Stream(b"{", HANG))
    ended = interrupted(shell, [*command.split(), "--json"], after=4)
    assert (ended.returncode, ended.stdout) == (130, "")
    assert json.loads(ended.stderr)["waitedFor"] == raw
