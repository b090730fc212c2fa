"""Submit a job and wait for its result: Python with nothing but ``requests``.

BACKROOM_URL (http://127.0.0.1:8000) and, where the stack has keys, BACKROOM_KEY.
"""

import json
import os
import sys
import time
import uuid

import requests

URL = os.environ.get("BACKROOM_URL", "http://127.0.0.1:8000")
FINISHED = {"completed", "failed", "cancelled", "expired"}

session = requests.Session()
if key := os.environ.get("BACKROOM_KEY"):
    session.headers["Authorization"] = f"Bearer {key}"


def call(method: str, path: str, *, tries: int = 5, **options: object) -> requests.Response:
    """Send a request; once more if the connection fails or the stack says "later" (429, 502, 503)."""
    for left in reversed(range(tries)):
        pause = 1.0
        try:
            response = session.request(method, URL + path, timeout=60, **options)
        except requests.ConnectionError:
            if not left:
                raise
        else:
            if response.status_code not in {429, 502, 503} or not left:
                if not response.ok:
                    sys.exit(f"{response.status_code}: {response.text}")  # problem+json says what is wrong, and where
                return response
            pause = float(response.headers.get("Retry-After", pause))
        time.sleep(pause)
    raise AssertionError("the last try returns or raises")


# The key makes the repeat safe: however often this request arrives, it is one job.
job = call(
    "POST",
    "/v1/jobs",
    headers={"Idempotency-Key": str(uuid.uuid4())},
    json={
        "name": "heavy-task",
        "data": {"userId": "u1", "payload": {"rounds": 50}},
        "options": {"attempts": 3, "backoff": {"type": "exponential", "delay": 1000}},
    },
).json()
print("submitted", job["id"], file=sys.stderr)

# Long polling: each request is held until the job has finished, for 30 seconds at most.
while job["state"] not in FINISHED:
    job = call("GET", f"/v1/jobs/{job['id']}", headers={"Prefer": "wait=30"}).json()

if job["state"] != "completed":
    sys.exit(f"{job['id']} is {job['state']}: {job['error']}")
print(json.dumps(job["result"]))
