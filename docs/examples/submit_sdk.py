"""Submit a job and wait for its result: Python with the client of Backroom.

BACKROOM_URL (http://127.0.0.1:8000) and, where the stack has keys, BACKROOM_KEY.
"""

import json
import os
import sys

from backroom.client import Backroom, Exponential, JobFailed

with Backroom(os.environ.get("BACKROOM_URL", "http://127.0.0.1:8000"), os.environ.get("BACKROOM_KEY")) as room:
    job = room.submit("heavy-task", {"userId": "u1", "payload": {"rounds": 50}}, attempts=3, backoff=Exponential(1.0))
    print("submitted", job.id, file=sys.stderr)
    try:
        result = room.result(job.id, timeout=300)
    except JobFailed as error:
        sys.exit(str(error))
print(json.dumps(result))
