"""The command line: every command prints what a verb of the API returns."""

from penjing.cli.app import COMMANDS, build, main

__all__ = ["COMMANDS", "build", "main"]
