"""Tools that are asked in a process of their own: what they print from C++ is caught, and they may crash."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence


def ask(code: str, options: Sequence[str] = ()) -> tuple[bool, str]:
    """Runs Python code with these arguments: whether it ended well, and all that was printed."""
    done = subprocess.run([sys.executable, "-c", code, *options], capture_output=True, text=True, check=False)
    return done.returncode == 0, done.stdout + done.stderr


def last_words(text: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip().strip("^~")]
    return lines[-1][:400] if lines else "it says nothing"
