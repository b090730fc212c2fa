"""Fixtures for jobs that talk to servers; every server is on the loopback interface, which settings allow."""

from __future__ import annotations

import pytest

from services.worker.support.settings import get_job_settings
from tests.integration.jobs.servers import Authority
from tests.unit.jobs.fixtures import artifacts, configure

__all__ = ["artifacts", "authority", "configure", "loopback_allowed"]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The certificate authority of this run."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def loopback_allowed(configure, authority: Authority) -> None:
    """Jobs may call this machine and trust the authority of the tests."""
    configure(jobs_allowed_networks="127.0.0.0/8,::1/128", jobs_ca_file=str(authority.file), jobs_timeout_seconds="30")
    assert get_job_settings().jobs_allowed_networks
