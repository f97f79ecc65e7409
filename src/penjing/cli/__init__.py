"""The command line: every command prints what a verb of the API returns."""
