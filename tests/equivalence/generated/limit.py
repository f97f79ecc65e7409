"""A limit in time, so that what hangs is found and not waited for."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.equivalence.generated.examine import Outcome, examine

SECONDS = 120
"""Far beyond what any of these networks needs, on a busy machine too."""


@contextmanager
def within(seconds: int = SECONDS) -> Iterator[None]:
    """Raises `TimeoutError` in the main thread where the block takes longer."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def examined(seed: int, *, singles: int = 2, need: bool = True) -> Outcome:
    """`examine` within the limit; what does not end in time is a problem of the outcome."""
    with within():
        return examine(seed, singles=singles, need=need)
