"""The application: Flask, with the front desk before it."""

import structlog
from flask import Flask

from backroom import logs
from backroom.model.errors import StoreUnavailable
from backroom.settings import Settings, get_settings
from services.api import routes
from services.api.backend import Backend
from services.api.http.front import FrontDesk
from services.api.settings import ApiSettings, get_api_settings

__all__ = ["create_app"]

log = structlog.get_logger("backroom.api")


def create_app(settings: Settings | None = None, api_settings: ApiSettings | None = None) -> Flask:
    """The WSGI application with a store client of its own; settings come from the environment unless given.

    Flask has the map of all addresses, and serves pages and their files. Operations are answered by the front desk,
    without Flask's contexts and signals, which cost more than most of the operations themselves.
    """
    settings = settings or get_settings()
    logs.configure(settings)
    app = Flask("services.api", static_folder="dashboard/static", template_folder="dashboard/templates")
    app.url_map.merge_slashes = False  # an address with two slashes is no address of ours: 404, not a redirect
    backend = Backend(settings, api_settings or get_api_settings(), app)
    app.extensions["backroom"] = backend
    app.wsgi_app = FrontDesk(app, backend, routes.operations())  # type: ignore[method-assign]  # as Flask's manual has it
    _warn_if_open(backend)
    return app


def _warn_if_open(backend: Backend) -> None:
    try:
        if not backend.guard.is_closed():
            log.warning("open mode: there are no API keys, so everybody who reaches this port may do everything")
    except StoreUnavailable:
        log.warning("the store is away: whether there are API keys is not known yet, and until then nobody may come in")
