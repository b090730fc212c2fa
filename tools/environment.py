"""Make ``.venv``, or bring it to the locked packages; silent and quick when there is nothing to do.

`make` calls ``python3 tools/environment.py run`` or ``dev``; nobody else needs to.

``run`` is what `make run` needs, ``dev`` is everything. A stamp in the environment says what it was made for: this
folder, this Python, this project file, these lock files. Where it says anything else (a lock file has changed, the
checkout was copied or moved, the system has a new Python), the environment is brought up to date, or made anew if it
does not work here. Two calls at the same time wait for each other. Runs on the system's Python, before any package is
there.
"""

import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".venv"
PYTHON = HOME / "bin" / "python"
PROJECT = ROOT / "pyproject.toml"
LOCKS = {"run": ROOT / "requirements" / "run.txt", "dev": ROOT / "requirements" / "dev.txt"}
CONTAINS = {"run": ("run", "dev"), "dev": ("dev",)}
"""Which environments serve for which use: the packages of ``dev`` are those of ``run`` and more."""


def made_for(use: str) -> str:
    """Return a digest of all that an environment depends on."""
    files = (PROJECT, *LOCKS.values())
    parts = (str(ROOT), sys.version, sys.base_prefix, *(file.read_text() for file in files))
    return f"{use} {hashlib.sha256(chr(0).join(parts).encode()).hexdigest()}"


def works_here() -> bool:
    """Tell whether the environment belongs to this folder and to the Python that runs this."""
    ask = "import sys, pip; print(sys.prefix, sys.base_prefix, sys.version, sep=chr(10))"
    try:
        answer = subprocess.run([str(PYTHON), "-c", ask], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return False
    prefix, *python = answer.split("\n", 2)
    return Path(prefix).resolve() == HOME.resolve() and "\n".join(python).strip() == f"{sys.base_prefix}\n{sys.version}"


def main(use: str) -> None:
    """Make the environment fit for ``use``."""
    if sys.version_info < (3, 11):  # noqa: UP036 - an older Python is what is to be refused
        version = sys.version.split()[0]
        sys.exit(
            f"Backroom needs Python 3.11 or newer, and this is {version}. Name another: make ... PYTHON=python3.13"
        )
    stamp = HOME / ".made-for"
    with (ROOT / ".venv.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if stamp.is_file() and PYTHON.exists() and stamp.read_text() in {made_for(name) for name in CONTAINS[use]}:
            return
        print(f"Setting up .venv from {LOCKS[use].relative_to(ROOT)} ...", flush=True)
        stamp.unlink(missing_ok=True)
        if not works_here():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(HOME)], check=True)
        pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--require-hashes", "--requirement", str(LOCKS[use])], check=True)
        # The project itself, as it lies here: Celery and kombu look for entry points of what is installed.
        subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--no-index", "--editable", str(ROOT)], check=True)
        stamp.write_text(made_for(use))


if __name__ == "__main__":
    main(sys.argv[1])
