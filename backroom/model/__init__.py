"""Plain words without I/O: jobs, their options and states, backoff, errors."""
