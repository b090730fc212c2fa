"""The tests: ``unit`` (pure, or one server), ``integration`` (the stack's real processes), ``celery``, ``compose``."""
