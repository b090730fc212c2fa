"""The folder itself: what a worker imports when it starts."""

from __future__ import annotations

import subprocess
import sys


def modules_after(statement: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after ``statement``."""
    program = f"import sys\n{statement}\nprint(*sys.modules, sep='\\n')"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return set(run.stdout.split())


def test_the_package_itself_imports_nothing() -> None:
    assert not modules_after("import services.worker.jobs") & {"celery", "pydantic", "requests", "PIL", "reportlab"}


def test_only_making_a_report_loads_the_pdf_library() -> None:
    assert "reportlab" not in modules_after("import services.worker.jobs.usage_report")
