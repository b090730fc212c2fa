"""The services: processes that meet in Redis and over HTTP, and import nothing of each other."""
