"""Progress on a terminal, and events for everybody who listens."""

from __future__ import annotations

import io
import json
import re
import time
from typing import Any

from rich.console import Console

from penjing.recover import Watch
from penjing.run.progress import Log


class Told(Watch):
    """Remembers; fails when it is told to."""

    def __init__(self, fails: str = "") -> None:
        self.fails, self.events, self.closed = fails, list[tuple[str, dict[str, Any]]](), 0

    def event(self, kind: str, /, **figures: Any) -> None:
        if kind == self.fails:
            raise OSError("the server is down")
        self.events.append((kind, figures))

    def close(self) -> None:
        self.closed += 1
        if self.fails == "close":
            raise OSError("the server is down")


def lines(text: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.getvalue().splitlines()]


def test_log_draws_the_time_that_is_left() -> None:
    drawn = io.StringIO()
    console = Console(file=drawn, force_terminal=True, width=120)
    with Log(io.StringIO(), console=console).track("epochs", 4) as advance:
        for _ in range(3):
            time.sleep(0.12)  # drawn ten times a second
            advance(loss=0.5)
        time.sleep(0.12)
    assert re.search(
        r"3/4.*0:00:0\d.*left 0:00:0\d.*loss 0.5", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawn.getvalue())
    )


def test_log_hands_every_event_on() -> None:
    text, one, other = io.StringIO(), Told(), Told()
    log = Log(text, others=[one, other])
    log.event("epoch", epoch=1, loss=0.5)
    log.close()
    assert one.events == other.events == [("epoch", {"epoch": 1, "loss": 0.5})]
    assert [line["event"] for line in lines(text)] == ["epoch"]
    assert one.closed == other.closed == 1


def test_log_goes_on_without_a_listener_that_fails_and_says_so() -> None:
    text, drawn = io.StringIO(), io.StringIO()
    failing, sound = Told("epoch"), Told()
    log = Log(text, console=Console(file=drawn, width=200), others=[failing, sound])
    for number in (1, 2):
        log.event("stage", number=number)
        log.event("epoch", number=number)
    log.close()
    assert [kind for kind, _ in failing.events] == ["stage"]
    assert [kind for kind, _ in sound.events] == ["stage", "log_failed", "epoch", "stage", "epoch"]
    assert [line["event"] for line in lines(text)] == ["stage", "epoch", "log_failed", "stage", "epoch"]
    assert lines(text)[2]["because"] == "OSError: the server is down"
    assert "Told fails" in drawn.getvalue()
    assert failing.closed == 0
    assert sound.closed == 1


def test_log_survives_a_listener_that_cannot_be_closed() -> None:
    text, sound = io.StringIO(), Told()
    log = Log(text, console=Console(file=io.StringIO()), others=[Told("close"), sound])
    log.close()
    assert sound.closed == 1
    assert [line["event"] for line in lines(text)] == ["log_failed"]
