"""The worker: Celery, with the jobs of `services.worker.jobs`."""
