"""The worker: a Celery application with every job in `services/worker/jobs`."""

from backroom.engine.app import create_app, import_jobs
from services.worker import jobs

__all__ = ["app"]

app = create_app("backroom-worker")
app.set_default()
import_jobs(jobs)
