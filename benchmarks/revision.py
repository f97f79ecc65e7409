"""The commit that a result belongs to."""

from __future__ import annotations

import subprocess
from pathlib import Path


def commit() -> str:
    """The short name of the commit checked out; empty where this is no repository."""
    folder = Path(__file__).parent
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder).stdout.strip()
