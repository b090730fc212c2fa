"""Fixtures for calls over TLS."""

from __future__ import annotations

import pytest

from tests.integration.jobs.servers import Authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The certificate authority of this run."""
    return Authority(tmp_path_factory.mktemp("authority"))
