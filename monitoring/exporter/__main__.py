"""Run the exporter until SIGTERM or SIGINT: ``python -m monitoring.exporter``."""

import signal
import sys
import threading
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector

from backroom import logs
from backroom.settings import get_settings
from backroom.store import Store
from monitoring.exporter.collector import StackCollector
from monitoring.exporter.settings import ExporterSettings
from monitoring.exporter.web import ExporterServer, make_app

log = structlog.get_logger("backroom.exporter")

_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def main() -> int:
    """Serve until told to stop. Returns the exit status: 0, or 1 if the address cannot be had."""
    settings, own = get_settings(), ExporterSettings()
    logs.configure(settings)
    store = Store.from_settings(settings)
    registry = CollectorRegistry()
    registry.register(StackCollector(store, own))
    ProcessCollector(registry=registry)
    try:
        server = ExporterServer(own.exporter_host, settings.exporter_port, make_app(registry, store.ping))
    except OSError as error:
        log.error(  # noqa: TRY400 - the reason is all there is to say
            "cannot listen: set BACKROOM_EXPORTER_HOST and BACKROOM_EXPORTER_PORT to a free address",
            host=own.exporter_host,
            port=settings.exporter_port,
            error=str(error),
        )
        return 1
    # Blocked in every thread, and waited for in this one: no handler that could run at an awkward moment.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    with server:  # leaving it waits for the answers under way
        threading.Thread(target=server.serve_forever, daemon=True).start()
        log.info("serving", address=f"http://{own.exporter_host}:{server.server_port}/metrics")
        signal.sigwait(_STOP_SIGNALS)
        server.shutdown()
    store.redis.close()
    log.info("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
