"""The job store: one object with a part for each thing one does with it."""

from redis import Redis

from backroom.settings import Settings
from backroom.store.actions import Actions
from backroom.store.api_keys import ApiKeys
from backroom.store.audit import Audit
from backroom.store.budgets import Budgets
from backroom.store.bulk import Bulk
from backroom.store.connection import connect, store_errors
from backroom.store.consequences import Consequences
from backroom.store.deliveries import Deliveries
from backroom.store.emptying import Emptying
from backroom.store.events import Events
from backroom.store.execution import Execution
from backroom.store.flow import Flow
from backroom.store.idempotency import Idempotency
from backroom.store.inspection import Inspection
from backroom.store.job_types import JobTypes
from backroom.store.keys import Keys
from backroom.store.listing import Listing
from backroom.store.metrics import Metrics
from backroom.store.outbox import Outbox
from backroom.store.queues import Queues
from backroom.store.schedules import Schedules
from backroom.store.scripts import ScriptRunner
from backroom.store.submission import Submission
from backroom.store.upkeep import Upkeep
from backroom.store.webhooks import Webhooks
from backroom.store.workers import Workers

__all__ = ["Store"]

#: A receiver of webhooks that takes more than this part of the time it may take is slow.
SLOW_PART = 3


class Store:
    """Everything about jobs in Redis. Safe to share between threads; make a new one after a fork.

    ``redis`` comes from `backroom.store.connect`; ``prefix`` begins every key.
    """

    def __init__(self, redis: Redis, *, prefix: str | None = None, settings: Settings | None = None) -> None:
        settings = settings or Settings()
        self.redis, self.settings = redis, settings
        self.keys = Keys(prefix or settings.key_prefix)
        scripts = ScriptRunner(
            self.keys.prefix,
            {
                "events": settings.events_max,
                "keepCompletedAge": settings.keep_completed_seconds * 1000,
                "keepCompletedCount": settings.keep_completed_count,
                "keepFailedAge": settings.keep_failed_seconds * 1000,
                "keepFailedCount": settings.keep_failed_count,
                "keepBulk": settings.keep_bulk_actions_seconds * 1000,
                "logLines": settings.max_log_lines,
                "lease": int(settings.lease_seconds * 1000),
                "webhookBytes": settings.webhook_max_bytes,
                "webhookKeepAge": settings.webhook_keep_seconds * 1000,
                "webhookKeepCount": settings.webhook_keep_count,
                "webhookAtOnce": settings.webhook_at_once,
                "webhookSlots": settings.webhook_slots_percent,
                "webhookSlow": round(settings.webhook_timeout_seconds * 1000 / SLOW_PART),
                "webhookDisableAfter": settings.webhook_disable_after_seconds * 1000,
            },
        )
        parts = (redis, self.keys, scripts)
        self.submission = Submission(*parts)
        self.execution = Execution(*parts)
        self.inspection = Inspection(*parts)
        self.listing = Listing(*parts)
        self.actions = Actions(*parts)
        self.emptying = Emptying(*parts)
        self.bulk = Bulk(*parts)
        self.consequences = Consequences(*parts)
        self.queues = Queues(*parts)
        self.idempotency = Idempotency(*parts)
        self.budgets = Budgets(*parts)
        self.api_keys = ApiKeys(*parts)
        self.audit = Audit(*parts)
        self.job_types = JobTypes(*parts)
        self.schedules = Schedules(*parts)
        self.workers = Workers(*parts)
        self.metrics = Metrics(*parts)
        self.flow = Flow(*parts)
        self.events = Events(*parts)
        self.upkeep = Upkeep(*parts)
        self.webhooks = Webhooks(*parts)
        self.deliveries = Deliveries(*parts, settings=settings)
        self.outbox = Outbox(*parts, settings=settings)

    @classmethod
    def from_settings(cls, settings: Settings, *, connections: int | None = None) -> "Store":
        """A store on the server and prefix that the settings name, with so many connections at most."""
        client = connect(settings.redis_url, timeout=settings.redis_timeout_seconds, most=connections)
        return cls(client, settings=settings)

    def ping(self) -> None:
        """Raise `StoreUnavailable` unless the server answers and has loaded its data."""
        with store_errors():
            self.redis.ping()
