"""The stack on one machine, without Docker: an embedded Valkey and the supervisor behind ``make run``."""
