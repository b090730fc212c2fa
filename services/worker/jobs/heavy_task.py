"""``heavy-task``: CPU-bound work of a chosen size, and the shortest example of a job."""

import hashlib
import json
import logging
import time
from typing import Any

from pydantic import ConfigDict, Field

from backroom import current_job, job
from services.worker.support.data import JobData, UserId

log = logging.getLogger(__name__)

#: One round takes about 1 to 2 ms of one core, so the default of 10 rounds some 15 ms and 10,000 rounds some 15 s.
HASHES_PER_ROUND = 2000
#: Progress is reported this many times at most.
STEPS = 20


class HeavyPayload(JobData):
    """Any object; one field of it means something."""

    model_config = ConfigDict(extra="allow")

    rounds: int = Field(10, ge=1, le=10_000, description="How much work: a round is 1 to 2 ms of one core.")


class HeavyTask(JobData):
    """Who asks, and for what."""

    user_id: UserId
    payload: HeavyPayload


def work(seed: bytes, rounds: int) -> str:
    """A chain of SHA-256 hashes over ``seed``, as hex; reports progress on its way."""
    digest = hashlib.sha256(seed).digest()
    step = max(1, rounds // STEPS)
    for done in range(1, rounds + 1):
        for _ in range(HASHES_PER_ROUND):
            digest = hashlib.sha256(digest).digest()
        if done % step == 0:
            current_job.progress(100 * done / rounds, f"{done} of {rounds} rounds")
    return digest.hex()


@job("heavy-task", timeout=600)
def heavy_task(data: HeavyTask) -> dict[str, Any]:
    """Hash ``payload.rounds`` rounds (1 to 10,000, by default 10) for a user; the digest depends on the data alone."""
    rounds = data.payload.rounds
    log.info("started: %d rounds for user %s", rounds, data.user_id)
    started = time.perf_counter()
    seed = json.dumps(data.model_dump(mode="json", by_alias=True), sort_keys=True).encode()
    digest = work(seed, rounds)
    duration = round(1000 * (time.perf_counter() - started), 3)
    log.info("finished: %d rounds in %.0f ms", rounds, duration)
    return {"userId": data.user_id, "rounds": rounds, "digest": digest, "durationMs": duration}
