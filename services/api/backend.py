"""What one API process holds while it lives: the store, the job types, those who wait and listen, and who may ask."""

from typing import Protocol

from flask import Flask

from backroom.settings import Settings
from backroom.store import Store
from backroom.store.bulk_runner import BulkRunner
from services.api.http.access import Guard
from services.api.http.feed import Feed
from services.api.http.ledger import Ledger
from services.api.http.rates import RateLimits
from services.api.http.seats import Seats
from services.api.http.streams import frame_of
from services.api.http.waiting import Waiters
from services.api.job_types import Catalogue
from services.api.settings import ApiSettings

__all__ = ["Backend"]


class Server(Protocol):
    """The server that runs the app, as far as the app cares: gunicorn's worker object."""

    @property
    def alive(self) -> bool:
        """False once it is being stopped."""


class Backend:
    """Made once in each gunicorn process, after the fork: connections are not shared between processes."""

    def __init__(self, settings: Settings, api_settings: ApiSettings, pages: Flask) -> None:
        """``pages``: what renders pages, and has their files."""
        self.pages = pages
        self.settings = settings
        self.api_settings = api_settings
        self.store = Store.from_settings(settings, connections=api_settings.store_connections)
        self.guard = Guard(settings, self.store.api_keys, fresh_seconds=api_settings.key_fresh_seconds)
        self.ledger = Ledger(self.store.audit, keep=api_settings.audit_max)
        self.rates = RateLimits(self.store, api_settings)
        self.job_types = Catalogue(self.store.job_types.list)
        self.server: Server | None = None
        self.seats = Seats(api_settings.max_waits)
        self.feed = Feed(self.store, frame_of, is_draining=self.is_draining)
        self.bulk_runner = BulkRunner(self.store)
        self.waiters = Waiters(self.store, self.feed, self.seats)

    def is_draining(self) -> bool:
        """Whether the process is on its way out, so that nobody should begin to wait for it."""
        return self.server is not None and not self.server.alive
