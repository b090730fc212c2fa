"""The door that the author of a job comes in by."""

import subprocess
import sys

import pytest

import backroom

NAMES = ["Exponential", "Fixed", "RateLimited", "RetryAfter", "Unrecoverable", "__version__", "current_job", "job"]


def test_the_public_names_are_these_and_all_are_there():
    assert backroom.__all__ == NAMES
    assert dir(backroom) == NAMES
    assert all(getattr(backroom, name) is not None for name in NAMES)


def test_a_name_that_is_not_there_is_missed_as_in_any_module():
    with pytest.raises(AttributeError, match="module 'backroom' has no attribute 'jobs'"):
        _ = backroom.jobs


@pytest.mark.parametrize("module", ["backroom", "backroom.store", "backroom.local.server", "services.api.app"])
def test_celery_is_not_loaded_by_those_who_do_without(module):
    code = f"import sys, {module}; sys.exit('celery' in sys.modules or 'kombu' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
