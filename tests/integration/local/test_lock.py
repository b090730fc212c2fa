"""One run a data folder."""

import os
import subprocess
import sys

import psutil
import pytest

from backroom.local.lock import DataFolderInUse, lock_data_folder

HOLD = """
import os, signal, subprocess, sys
from pathlib import Path
from backroom.local.lock import lock_data_folder
held = lock_data_folder(Path(sys.argv[1]))
heir = subprocess.Popen(["sleep", "60"], pass_fds=[held]) if sys.argv[2] == "heir" else None
print(heir.pid if heir else 0, flush=True)
signal.pause()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that has locked the folder, alone or with an heir that holds the file too."""
    started = []

    def hold(kind):
        process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path), kind], stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process, int(process.stdout.readline())

    yield hold
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_folder_is_made_and_locked(tmp_path):
    held = lock_data_folder(tmp_path / "new" / "data")
    assert (tmp_path / "new" / "data" / "run.lock").read_text() == f"{os.getpid()}\n"
    os.close(held)


def test_a_folder_in_use_is_refused_at_once_with_the_number_of_the_run(tmp_path, holder):
    other, _ = holder("alone")
    with pytest.raises(DataFolderInUse, match=rf"in use by another run \(process {other.pid}\)"):
        lock_data_folder(tmp_path)


def test_a_folder_is_free_again_when_its_run_was_killed(tmp_path, holder):
    other, _ = holder("alone")
    other.kill()
    other.wait()
    os.close(lock_data_folder(tmp_path))


def test_the_store_of_a_killed_run_keeps_the_folder_until_it_has_ended(tmp_path, holder):
    other, heir = holder("heir")
    other.kill()
    other.wait()
    with pytest.raises(DataFolderInUse):
        lock_data_folder(tmp_path)
    psutil.Process(heir).kill()
    os.close(lock_data_folder(tmp_path))
