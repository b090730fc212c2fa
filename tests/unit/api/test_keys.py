"""Keys as a process knows them: fresh, kept through an outage, and never open again by themselves."""

import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from backroom.model.errors import StoreUnavailable
from backroom.store.api_keys import KeyRecord, KeyRecords
from services.api.http.keys import KeyRing, NewKey, key_digest, key_prefix


class Cabinet:
    """Where keys are kept, and the time."""

    def __init__(self) -> None:
        self.records: dict[str, KeyRecord] = {}
        self.version = 0
        self.away = False
        self.reads = 0
        self.uses: list[str] = []
        self.now = 100.0

    def add(self, name: str, expires_at: int | None = None) -> NewKey:
        new = NewKey.make()
        self.records[new.id] = KeyRecord(
            id=new.id, name=name, digest=key_digest(new.text).hex(), roles=("read",), queues=None, job_types=None,
            created_at=1, created_by="open", expires_at=expires_at,
        )  # fmt: skip
        self.version += 1
        return new

    def revoke(self, key: NewKey) -> None:
        del self.records[key.id]
        self.version += 1

    def read(self, known: str = "") -> KeyRecords | None:
        self.reads += 1
        if self.away:
            raise StoreUnavailable("away")
        return None if known == str(self.version) else KeyRecords(str(self.version), dict(self.records))

    def use(self, key_id: str) -> None:
        if self.away:
            raise StoreUnavailable("away")
        self.uses.append(key_id)

    def ring(self) -> KeyRing[str]:
        return KeyRing(self, lambda record: record.name, fresh_seconds=1, clock=lambda: self.now)


def test_a_key_is_long_random_letters_with_its_id_in_front() -> None:
    keys = {NewKey.make() for _ in range(100)}
    assert len({key.id for key in keys}) == len({key.text for key in keys}) == 100
    for key in keys:
        assert re.fullmatch(r"brk_[a-z2-7]{12}_[a-z2-7]{32}", key.text)
        assert key.text.startswith(key_prefix(key.id))


def test_a_key_is_found_and_whatever_is_none_is_not() -> None:
    cabinet = Cabinet()
    key, other = cabinet.add("shop"), cabinet.add("board")
    ring = cabinet.ring()
    assert (ring.find(key.text), ring.find(other.text)) == ("shop", "board")
    for wrong in ("", "brk_", key.id, key.text[:-1], key.text + "\n", key.text.upper(), NewKey.make().text):
        assert ring.find(wrong) is None
    assert ring.find(f"{key_prefix(key.id)}_{other.text.rpartition('_')[2]}") is None


def test_keys_are_read_once_a_second_and_a_revoked_one_is_refused_after_that() -> None:
    cabinet = Cabinet()
    key, ring = cabinet.add("shop"), cabinet.ring()
    for _ in range(5):
        assert ring.find(key.text) == "shop"
    assert cabinet.reads == 1
    cabinet.revoke(key)
    cabinet.now += 0.9
    assert ring.find(key.text) == "shop"
    cabinet.now += 0.1
    assert ring.find(key.text) is None


def test_a_new_key_is_known_at_once() -> None:
    cabinet = Cabinet()
    ring = cabinet.ring()
    assert not ring.has_keys()
    assert ring.find(cabinet.add("shop").text) == "shop"
    assert ring.has_keys()


def test_what_this_process_has_changed_it_knows_at_once() -> None:
    cabinet = Cabinet()
    key, ring = cabinet.add("shop"), cabinet.ring()
    assert ring.find(key.text) == "shop"
    cabinet.revoke(key)
    ring.forget()
    assert ring.find(key.text) is None


def test_a_key_ends_when_its_time_is_over() -> None:
    cabinet = Cabinet()
    now = int(time.time() * 1000)
    over, coming = cabinet.add("over", now - 1), cabinet.add("coming", now + 3_600_000)
    ring = cabinet.ring()
    assert (ring.find(over.text), ring.find(coming.text)) == (None, "coming")


def test_while_the_store_is_away_known_keys_stay_good_and_others_cannot_be_told() -> None:
    cabinet = Cabinet()
    key, ring = cabinet.add("shop"), cabinet.ring()
    assert ring.find(key.text) == "shop"
    cabinet.away = True
    for _ in range(3):
        cabinet.now += 5
        assert ring.find(key.text) == "shop"
        assert ring.has_keys()
        with pytest.raises(StoreUnavailable):
            ring.find(NewKey.make().text)


def test_before_the_store_was_ever_heard_nothing_can_be_told_and_it_is_not_stormed() -> None:
    cabinet = Cabinet()
    cabinet.away = True
    ring = cabinet.ring()
    for _ in range(5):
        with pytest.raises(StoreUnavailable):
            ring.has_keys()
    assert cabinet.reads == 1
    cabinet.away = False
    cabinet.now += 1
    assert not ring.has_keys()


def test_a_store_that_has_lost_its_keys_leaves_no_door_open() -> None:
    cabinet = Cabinet()
    key, ring = cabinet.add("shop"), cabinet.ring()
    assert ring.has_keys()
    cabinet.revoke(key)
    cabinet.now += 1
    assert ring.find(key.text) is None
    assert ring.has_keys()
    assert not cabinet.ring().has_keys()


def test_that_a_key_is_used_is_noted_once_a_minute() -> None:
    cabinet = Cabinet()
    key, ring = cabinet.add("shop"), cabinet.ring()
    for _ in range(59):
        ring.find(key.text)
        cabinet.now += 1
    assert cabinet.uses == [key.id]
    cabinet.now += 1
    cabinet.away = True
    assert ring.find(key.text) == "shop"
    cabinet.away = False
    cabinet.now += 60
    ring.find(key.text)
    assert cabinet.uses == [key.id] * 2


def test_many_threads_read_once() -> None:
    cabinet = Cabinet()
    key, ring = cabinet.add("shop"), cabinet.ring()
    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(ring.find, [key.text] * 200)) == {"shop"}
    assert cabinet.reads == 1
