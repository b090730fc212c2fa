"""The jobs. A module dropped into this folder is imported when a worker starts, and its `@job` functions are offered.

See `docs/jobs.md` for how to write one.
"""
