"""The catalogue of job types: at hand, fresh, and asked again before a name is refused."""

import pytest

from backroom.model.errors import InvalidInput, StoreUnavailable
from backroom.model.job_types import JobType
from services.api.http.problems import Problem
from services.api.job_types import Catalogue


class Workers:
    """What workers have published, and how often that was read."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.away = False
        self.reads = 0
        self.now = 0.0

    def read(self) -> list[JobType]:
        self.reads += 1
        if self.away:
            raise StoreUnavailable("away")
        return [JobType(name=name, queue=f"queue-of-{name}", defaults={"attempts": 4}) for name in self.names]

    def catalogue(self) -> Catalogue:
        return Catalogue(self.read, clock=lambda: self.now)


def test_a_type_is_read_once_a_second() -> None:
    workers = Workers("a", "b")
    catalogue = workers.catalogue()
    for _ in range(5):
        assert catalogue.find("a", pointer="/name").queue == "queue-of-a"
        assert catalogue.find("b", pointer="/name").defaults.attempts == 4
    assert workers.reads == 1
    workers.now = 1.5
    catalogue.find("a", pointer="/name")
    assert workers.reads == 2


def test_an_unknown_name_is_looked_up_again_before_it_is_refused() -> None:
    workers = Workers("a")
    catalogue = workers.catalogue()
    catalogue.find("a", pointer="/name")
    workers.names = ("a", "b")
    assert catalogue.find("b", pointer="/name").name == "b"
    with pytest.raises(InvalidInput, match="known are: a, b") as failure:
        catalogue.find("c", pointer="/jobs/3/name")
    assert failure.value.errors[0].pointer == "/jobs/3/name"


def test_a_long_list_of_known_names_is_cut() -> None:
    with pytest.raises(InvalidInput, match="and 30 more"):
        Workers(*(f"type-{n:02}" for n in range(80))).catalogue().find("c", pointer="")


def test_a_type_this_version_cannot_read_does_not_stop_the_others() -> None:
    types = [JobType(name="newer", queue="q", defaults={"levitate": True}), JobType(name="a", queue="q")]
    catalogue = Catalogue(lambda: types)
    assert catalogue.find("a", pointer="").name == "a"
    with pytest.raises(ValueError, match="levitate"):
        catalogue.find("newer", pointer="")


def test_no_types_at_all_is_not_the_callers_fault() -> None:
    with pytest.raises(Problem, match="No worker has published") as failure:
        Workers().catalogue().find("a", pointer="")
    assert failure.value.kind.status == 503


def test_an_absence_of_the_store_is_not_remembered() -> None:
    workers = Workers("a")
    catalogue = workers.catalogue()
    workers.away = True
    with pytest.raises(StoreUnavailable):
        catalogue.find("a", pointer="")
    workers.away = False
    assert catalogue.find("a", pointer="").name == "a"
