"""The whole stack without Docker, as a stranger runs it."""

import re
import signal
import socket
import subprocess
import sys

import psutil
import pytest
import requests

from backroom.local.server import HOST, EmbeddedServer
from tests.integration.local.running import UP, Run


@pytest.fixture
def run(tmp_path):
    """Starts runs; ends those that a test leaves."""
    runs = []

    def start(data_dir="data", **settings):
        runs.append(Run(tmp_path / data_dir, **settings))
        return runs[-1]

    yield start
    for one in runs:
        one.end()


def is_gone(processes):
    """Whether all of them have ended, at once or within moments."""
    _, alive = psutil.wait_procs(processes, timeout=60)
    return not alive


def test_the_printed_commands_work_and_one_interrupt_stops_everything(run, tmp_path):
    stack = run(WORKERS="2")
    stack.wait_until_up()
    post, read = re.findall(r"^ +(curl .*)$", stack.printed, re.MULTILINE)

    posted = subprocess.run(["sh", "-c", post], capture_output=True, text=True, check=True).stdout
    job_id = re.search(r'"id": *"([^"]+)"', posted)[1]
    assert stack.finished(job_id)["state"] == "completed"
    result = subprocess.run(["sh", "-c", read.replace("ID", job_id)], capture_output=True, text=True, check=True).stdout
    assert result == requests.get(f"{stack.url}/v1/jobs/{job_id}/result", timeout=60).text

    assert set(stack.members()) == {"valkey", "api", "worker-1", "worker-2", "scheduler"}
    everyone = stack.descendants()
    assert stack.stop(signal.SIGINT) == 0
    assert is_gone(everyone)
    assert "is killed" not in stack.printed
    assert "Traceback" not in stack.printed


def test_it_leaves_nothing_outside_its_data_folder(run, tmp_path):
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    temporary.mkdir()
    stack = run(HOME=str(home), TMPDIR=str(temporary), PYTHONDONTWRITEBYTECODE="1")
    stack.wait_until_up()
    stack.finished(stack.enqueue())
    assert stack.stop() == 0
    assert [*home.rglob("*"), *temporary.rglob("*")] == []
    assert {"run.lock", "valkey"} <= {path.name for path in (tmp_path / "data").iterdir()}


def test_a_running_job_may_finish_when_the_stack_is_told_to_stop(run):
    stack = run()
    stack.wait_until_up()
    job_id = stack.enqueue({"rounds": 10_000})
    stack.wait_until_started(job_id)
    assert stack.stop(signal.SIGTERM) == 0
    again = run()
    again.wait_until_up()
    job = again.finished(job_id)
    assert (job["state"], job["stalled"]) == ("completed", 0)


def test_what_dies_is_started_again_and_takes_nothing_down(run):
    stack = run()
    stack.wait_until_up()
    first = stack.members()
    done = stack.enqueue()
    stack.finished(done)

    for name in ("valkey", "worker-1", "api", "scheduler"):
        first[name].kill()
        stack.wait_for(f"{name:<9} | starting it again")

    assert stack.finished(stack.enqueue_once_it_can())["state"] == "completed"
    assert stack.finished(done)["state"] == "completed"
    second = stack.members()
    assert second.keys() == first.keys()
    for name in ("valkey", "worker-1", "api", "scheduler"):
        assert stack.printed.count(f"{name:<9} | was killed by SIGKILL") == 1
    assert "ended with exit code" not in stack.printed


def test_no_process_outlives_a_killed_supervisor(run):
    stack = run()
    stack.wait_until_up()
    everyone = stack.descendants()
    stack.process.kill()
    assert is_gone(everyone)


def test_runs_with_ports_and_folders_of_their_own_do_not_meet(run):
    left, right = run("left"), run("right")
    left.wait_until_up()
    right.wait_until_up()
    job_id = left.enqueue()
    assert left.finished(job_id)["state"] == "completed"
    assert requests.get(f"{right.url}/v1/jobs/{job_id}", timeout=60).status_code == 404
    assert left.stop() == 0
    assert right.finished(right.enqueue())["state"] == "completed"
    assert right.stop() == 0


def test_a_folder_in_use_is_refused_with_what_to_do(run):
    first = run(WORKERS="0")
    first.wait_until_up()
    second = run(WORKERS="0")
    assert second.exit_code() == 2
    assert f"in use by another run (process {first.process.pid})" in second.printed
    assert re.search(r"DATA_DIR=\S+ PORT=\d+ make run", second.printed)
    assert "Traceback" not in second.printed
    assert requests.get(f"{first.url}/readyz", timeout=60).status_code == 200


def test_a_taken_port_is_refused_before_anything_starts(run, tmp_path):
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        stack = run(PORT=str(port))
        assert stack.exit_code() == 2
    assert f"port {port} of 127.0.0.1 is taken" in stack.printed
    free = int(re.search(r"PORT=(\d+) make run", stack.printed)[1])
    assert free > port
    assert not (tmp_path / "data" / "valkey").exists()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"WORKERS": "many"}, "WORKERS:"),
        ({"WORKER_POOL": "gevent"}, "WORKER_POOL:"),
        ({"BACKROOM_LEASE_SECONDS": "-1"}, "BACKROOM_LEASE_SECONDS:"),
        ({"BACKROOM_REDIS_URL": "amqp://nowhere"}, "BACKROOM_REDIS_URL must begin with"),
    ],
)
def test_a_wrong_setting_is_named(run, setting, words):
    stack = run(**setting)
    assert stack.exit_code() == 2
    assert words in stack.printed
    assert "Traceback" not in stack.printed


def test_a_store_of_ones_own_is_used_and_none_started(run, tmp_path):
    with EmbeddedServer(tmp_path / "own") as server:
        stack = run(BACKROOM_REDIS_URL=server.url)
        stack.wait_until_up()
        assert "valkey" not in stack.members()
        assert stack.finished(stack.enqueue())["state"] == "completed"
        assert stack.stop() == 0
        assert server.answers()


def test_a_proxy_on_the_way_to_other_machines_is_not_asked_for_this_one(run):
    stack = run(WORKERS="0", http_proxy="http://127.0.0.1:9", no_proxy="")
    stack.wait_until_up()


def test_without_workers_it_is_up_as_soon_as_the_rest_is(run):
    stack = run(WORKERS="0")
    stack.wait_until_up()
    assert set(stack.members()) == {"valkey", "api", "scheduler"}


def test_what_is_missing_is_said_while_a_start_takes_long(run, tmp_path):
    """A store that does not answer is waited for, as after a crash of the whole machine."""
    server = EmbeddedServer(tmp_path / "late")
    stack = run(BACKROOM_REDIS_URL=server.url)
    stack.wait_for("Still waiting for the job store")
    assert UP not in stack.printed
    with server:
        stack.wait_until_up()
        assert stack.stop() == 0


def test_make_run_is_the_same(run):
    # With the Python of these tests: another one would have .venv made anew, under the tests that run in it.
    stack = run(command=["make", "run", f"PYTHON={sys.executable}"], WORKERS="0")
    stack.wait_until_up()
    supervisor = next(
        child
        for child in psutil.Process(stack.process.pid).children(recursive=True)
        if "backroom.local" in child.cmdline()
    )
    everyone = [supervisor, *supervisor.children(recursive=True)]
    stack.stop(signal.SIGTERM)
    assert is_gone(everyone)
    assert "is killed" not in stack.printed
