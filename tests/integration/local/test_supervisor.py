"""The supervisor keeps programs running; real processes, in the test's own main thread."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from backroom.local.console import Console
from backroom.local.program import Program
from backroom.local.supervisor import Supervisor

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
OBEDIENT = "import time; print('up', flush=True); time.sleep(60)"


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with Supervisor(Console(width=6)) as running:
        yield running


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str, str], Program]:
    """A program of the given name that runs a piece of Python in the test's folder."""

    def describe(name: str, code: str) -> Program:
        return Program(name=name, command=[sys.executable, "-c", code], cwd=tmp_path, environment=os.environ)

    return describe


class Said:
    """What reached the terminal so far."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture
        self.text = ""

    def __contains__(self, words: str) -> bool:
        self.text += self._capture.readouterr().out
        return words in self.text

    def count(self, words: str) -> int:
        return self.text.count(words) if words in self else 0


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    return Said(capsys)


def test_every_line_is_whole_and_stands_behind_its_program(supervisor, program, said):
    supervisor.start(
        program("left", "import sys, time; sys.stdout.write('half a '); sys.stdout.flush(); print('line')")
    )
    supervisor.start(program("right", "import sys; sys.stderr.write('no end of line')"))
    supervisor.run(until=lambda: "left   | half a line\n" in said and "right  | no end of line\n" in said)


def test_a_program_that_ends_is_started_again_after_a_growing_pause_and_no_other_is(supervisor, program, said):
    supervisor.start(program("steady", OBEDIENT))
    supervisor.start(program("weak", "print('trying'); raise SystemExit(3)"))
    supervisor.run(until=lambda: said.count("trying") >= 3)
    assert "weak   | ended with exit code 3\nweak   | starting it again in 0.5 s\n" in said
    assert "weak   | starting it again in 1 s\n" in said
    assert said.count("steady | up") == 1


def test_a_killed_program_is_named_as_killed_and_replaced_by_another_process(supervisor, program, said):
    supervisor.start(program("victim", OBEDIENT))
    supervisor.run(until=lambda: "up" in said)
    first = supervisor.pids()["victim"]
    os.kill(first, signal.SIGKILL)
    supervisor.run(until=lambda: said.count("victim | up") == 2)
    assert "victim | was killed by SIGKILL" in said
    assert supervisor.pids()["victim"] != first


def test_what_a_killed_program_leaves_behind_ends_before_it_is_started_again(supervisor, program, said):
    code = f"import subprocess, sys; print('child', subprocess.Popen([sys.executable, '-c', {OBEDIENT!r}]).wait())"
    supervisor.start(program("parent", code))
    supervisor.run(until=lambda: "up" in said)
    parent = psutil.Process(supervisor.pids()["parent"])
    (child,) = parent.children()
    parent.kill()
    supervisor.run(until=lambda: "starting it again" in said)
    child.wait(timeout=60)


def test_stopping_asks_first_and_waits_for_the_end(supervisor, program, said):
    code = (
        "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit('tidied up')); print('up', flush=True)"
    )
    supervisor.start(program("tidy", f"{code}; signal.pause()"))
    supervisor.run(until=lambda: "up" in said)
    supervisor.stop(["tidy"], grace_seconds=30)
    assert "tidy   | tidied up" in said
    assert supervisor.pids() == {}


def test_a_program_that_does_not_stop_in_time_is_killed(supervisor, program, said):
    supervisor.start(program("mule", STUBBORN))
    supervisor.run(until=lambda: "up" in said)
    supervisor.stop(["mule"], grace_seconds=0.2)
    assert "mule   | was killed by SIGKILL" in said


def test_a_frozen_program_is_thawed_to_stop(supervisor, program, said):
    supervisor.start(program("frozen", OBEDIENT))
    supervisor.run(until=lambda: "up" in said)
    os.kill(supervisor.pids()["frozen"], signal.SIGSTOP)
    supervisor.stop(["frozen"], grace_seconds=30)
    assert "frozen | was killed by SIGTERM" in said


def test_the_others_are_kept_running_while_some_stop(supervisor, program, said):
    code = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: (os.kill({pid}, 9), sys.exit()))
print('up', flush=True)
signal.pause()
"""
    supervisor.start(program("store", OBEDIENT))
    supervisor.run(until=lambda: "store  | up" in said)
    supervisor.start(program("worker", code.format(pid=supervisor.pids()["store"])))
    supervisor.run(until=lambda: "worker | up" in said)
    supervisor.stop(["worker"], grace_seconds=30)
    supervisor.run(until=lambda: said.count("store  | up") == 2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_run_and_a_second_one_the_patience(supervisor, program, said, number):
    supervisor.start(program("mule", STUBBORN))
    supervisor.run(until=lambda: "up" in said)
    assert supervisor.run(until=lambda: bool(os.kill(os.getpid(), number))) is False
    pid = supervisor.pids()["mule"]
    supervisor.start(program("again", f"import os; os.kill({os.getpid()}, {int(number)})"))
    supervisor.stop(["mule"], grace_seconds=100)
    assert not psutil.pid_exists(pid)


def test_a_program_that_closes_its_output_costs_nothing(supervisor, program, said):
    supervisor.start(
        program("mute", "import os, time; print('up', flush=True); os.close(1); os.close(2); time.sleep(60)")
    )
    supervisor.run(until=lambda: "up" in said)
    supervisor.stop(["mute"], grace_seconds=30)
    assert "mute   | was killed by SIGTERM" in said


def test_a_line_without_end_is_cut(supervisor, program, said):
    supervisor.start(
        program("long", "import sys, time; sys.stdout.write('x' * 200_000); sys.stdout.flush(); time.sleep(60)")
    )
    supervisor.run(until=lambda: said.count("long   | xxx") >= 3)


def test_the_programs_end_when_the_supervisor_is_killed(tmp_path):
    """On Linux the kernel sees to it, whatever the supervisor itself could not do any more."""
    code = f"""
import os, sys
from pathlib import Path
from backroom.local.console import Console
from backroom.local.program import Program
from backroom.local.supervisor import Supervisor
with Supervisor(Console(width=1)) as supervisor:
    for name in "ab":
        code = {STUBBORN!r}
        supervisor.start(Program(name=name, command=[sys.executable, "-c", code], cwd=Path(), environment=os.environ))
    supervisor.run()
"""
    parent = psutil.Popen([sys.executable, "-c", code], stdout=-1, text=True)
    with parent.stdout:
        assert {parent.stdout.readline(), parent.stdout.readline()} == {"a | up\n", "b | up\n"}
        children = parent.children()
        assert len(children) == 2
        parent.kill()
        parent.wait()
        gone, alive = psutil.wait_procs(children, timeout=60)
    assert (len(gone), alive) == (2, [])
