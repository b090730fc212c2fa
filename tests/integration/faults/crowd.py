"""Clients that submit jobs over HTTP all the time, and hold the API to what it answers."""

from __future__ import annotations

import random
import threading
import time
from itertools import count
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

import requests

from tests.integration.api.service import check_against_document
from tests.integration.engine.stage import eventually

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.integration.api.service import Api

__all__ = ["Crowd"]

#: An answer that takes longer than so many seconds is a hang.
HANG_SECONDS = 15.0
#: Jobs of a bulk submission.
BULK = 25
#: A 503 asks to wait for some seconds; tests are less patient.
PAUSE_SECONDS = 0.1


class Crowd:
    """Some clients, each with an HTTP connection of its own, single jobs and bulk submissions in turn.

    Jobs have ids of the clients' choice. What was answered 503 is sent again until it is taken, as one should: it may
    have been stored, or not.
    """

    def __init__(
        self, api: Api, *, clients: int = 4, name: str = "echo", queue: str = "default", **options: Any
    ) -> None:
        """``options`` are those of all jobs; their data is ``{}``, or what `data` is set to."""
        self._api, self._name, self._queue, self._options = api, name, queue, options
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(clients)]
        self._stopped, self._lock, self._numbers = threading.Event(), threading.Lock(), count()
        self._prefix = f"crowd-{uuid4().hex[:8]}"
        self._seen: set[tuple[str, int]] = set()
        self.data: dict[str, Any] = {}
        #: When jobs were taken, in seconds since 1970: the API has answered that they are stored.
        self.taken: dict[str, float] = {}
        #: The details of all refusals.
        self.refusals: list[str] = []
        #: Answers that say that the job was stored before.
        self.duplicates = 0
        #: Anything but what an API may answer.
        self.complaints: list[str] = []
        #: Of all answers, in seconds.
        self.slowest = 0.0

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def goes_on(self, *, more: int = 100, within: float = HANG_SECONDS * 2) -> None:
        """Wait until so many more jobs are taken."""
        before = len(self.taken)
        eventually(lambda: self.complaints or len(self.taken) >= before + more, within=within)
        assert self.complaints == []

    def is_refused(self, *, times: int = 20) -> None:
        """Wait until it is refused so many times."""
        before = len(self.refusals)
        eventually(lambda: self.complaints or len(self.refusals) >= before + times)
        assert self.complaints == []

    def _run(self, seed: int) -> None:
        chance = random.Random(seed)
        with requests.Session() as session:
            while not self._stopped.is_set():
                number = BULK if chance.random() < 0.2 else 1
                jobs = [self._a_job() for _ in range(number)]
                while not self._submit(session, jobs) and not self._stopped.wait(PAUSE_SECONDS):
                    pass

    def _a_job(self) -> dict[str, Any]:
        job_id = f"{self._prefix}-{next(self._numbers)}"
        options = {**self._options, "jobId": job_id}
        return {"name": self._name, "queue": self._queue, "data": self.data, "options": options}

    def _submit(self, session: requests.Session, jobs: Sequence[dict[str, Any]]) -> bool:
        """Send jobs once; False: they were refused for now."""
        path, body = ("/v1/jobs", jobs[0]) if len(jobs) == 1 else ("/v1/jobs/bulk", {"jobs": jobs})
        begin = time.monotonic()
        try:
            answer = session.post(f"{self._api.url}{path}", json=body, timeout=HANG_SECONDS)
            self.slowest = max(self.slowest, time.monotonic() - begin)
            with self._lock:
                if (path, answer.status_code) not in self._seen:  # checking each would take longer than the answers do
                    self._seen.add((path, answer.status_code))
                    check_against_document("POST", path, answer)
                return self._note(answer, [job["options"]["jobId"] for job in jobs])
        except (requests.RequestException, AssertionError, KeyError) as error:
            self.complaints.append(repr(error))
            self._stopped.set()
            return False

    def _note(self, answer: requests.Response, ids: Sequence[str]) -> bool:
        body = answer.json()
        if answer.status_code == requests.codes.service_unavailable:
            assert int(answer.headers["Retry-After"]) > 0
            self.refusals.append(body["detail"])
            return False
        assert answer.status_code in {200, 202}, answer.text
        stored = body.get("jobs", [body])
        assert [job["id"] for job in stored] == list(ids)
        self.duplicates += sum(job["duplicate"] for job in stored)
        for job_id in ids:
            self.taken[job_id] = time.time()
        return True
