"""The ``backroom`` command: a stack in a terminal, or in a shell script."""

from backroom.client.cli.program import main

__all__ = ["main"]
