"""The fixtures that the unit tests of the jobs share."""

from tests.unit.jobs.fixtures import artifacts, configure

__all__ = ["artifacts", "configure"]
