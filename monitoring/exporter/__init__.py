"""The exporter: one small process that turns the numbers kept in Redis into Prometheus' ``/metrics``.

Run it with ``python -m monitoring.exporter``. A scrape is a handful of reads and never a scan. The exporter keeps no
numbers of its own, so it can be restarted, or moved, at any time.
"""
