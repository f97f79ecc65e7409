"""The CPU of this machine, through ONNX Runtime."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from penjing.devices.cache import Cache
from penjing.devices.clock import choose_basis, interleave
from penjing.devices.device import Device
from penjing.devices.feeds import feeds
from penjing.devices.fingerprint import Fingerprint
from penjing.devices.measurement import Measurement, Provenance
from penjing.devices.nodes import NodeTime, profile
from penjing.devices.session import Session
from penjing.devices.single import Single
from penjing.devices.stairs import Stairs, probe
from penjing.errors import PenjingError
from penjing.network import Call

_SESSIONS: Final = 5
"""Pairs of sessions that a comparison takes the mean over."""

_LEAST_S: Final = 0.4
"""Seconds that a comparison times each pair of sessions for, however steady."""

_PATIENCE_S: Final = 20.0
"""Seconds after which a comparison begins no other pair."""


@dataclass(frozen=True)
class Cpu(Device):
    """ONNX Runtime on this machine's CPU.

    Attributes:
        threads: inside an operator; operators run one after another.
    """

    threads: int = 1
    name: ClassVar[str] = "cpu"
    quantity: ClassVar[str] = "latency"
    provenance: ClassVar[Provenance] = "measured"
    summary: ClassVar[str] = "this machine's CPU through ONNX Runtime, timed"

    def __post_init__(self) -> None:
        """Refuses a number of threads that cannot be."""
        if self.threads < 1:
            raise PenjingError(
                "PJ406", f"device `cpu` cannot run on {self.threads} threads", tries=["threads=1"]
            )

    @property
    def fingerprint(self) -> Fingerprint:
        """What the measurements of this device depend on."""
        return Fingerprint.here(self.threads)

    def measure(
        self, artifacts: Path | str | Sequence[Path | str], *, call: Call | None = None, limit_s: float = 30.0
    ) -> list[Measurement]:
        """Times artifacts against one another, in turns in this process, until their medians stand still.

        Args:
            artifacts: one ONNX file or several.
            call: the inputs to run them on; made up from their own shapes where it is None.
            limit_s: seconds after which the medians are taken as they are; `spread` says how good.

        Returns:
            One measurement per artifact, in a list, all on the same basis.

        Raises:
            PenjingError: PJ404 or PJ405, there is no such file, or ONNX Runtime refuses it or the inputs.
        """
        paths = [artifacts] if isinstance(artifacts, str | Path) else artifacts
        return self._timed(paths, call, limit_s, warm=True)

    def compare(
        self, one: Path | str, other: Path | str, *, call: Call | None = None
    ) -> tuple[Measurement, Measurement]:
        """Times two artifacts against one another, so that their ratio holds on a second look too.

        Half of the runs find the caches as the other artifact left them: how much slower that is differs
        between the two. And where a session happens to lie in memory moves the time of a small network by
        up to 3 % as long as it lives: the mean over several pairs of fresh sessions is taken.

        Args:
            one: an ONNX file.
            other: another.
            call: as for `measure`.

        Returns:
            A measurement of each, both on the same basis.

        Raises:
            PenjingError: as for `measure`.
        """
        found: list[list[Measurement]] = []
        end = time.perf_counter() + _PATIENCE_S
        while len(found) < _SESSIONS and (not found or time.perf_counter() < end):
            found.append(self._timed([one, other], call, _PATIENCE_S / _SESSIONS, warm=False))
        first, second = (Measurement.mean(column) for column in zip(*found, strict=True))
        return first, second

    def _timed(
        self, paths: Sequence[Path | str], call: Call | None, limit_s: float, *, warm: bool
    ) -> list[Measurement]:
        """Fresh sessions, timed in turns."""
        sessions = [Session(Path(path), threads=self.threads) for path in paths]
        given = None if call is None else feeds(call)
        jobs = [session.job(session.random_feeds() if given is None else given) for session in sessions]
        clock = time.thread_time if self.threads == 1 else time.process_time
        timings = interleave(
            jobs, cpu_clock=clock, limit_s=limit_s, least_s=0.0 if warm else _LEAST_S, warm=warm
        )
        basis = choose_basis(timings, threads=self.threads)
        return [Measurement.of(timing, basis) for timing in timings]

    def profile(
        self, artifact: Path | str, *, call: Call | None = None, seconds: float = 0.5
    ) -> list[NodeTime]:
        """Times every operator of an artifact while the whole of it runs.

        Raises:
            PenjingError: PJ404 or PJ405, as for `measure`.
        """
        given = None if call is None else feeds(call)
        return profile(Path(artifact), given, threads=self.threads, seconds=seconds)

    def stairs(self, cache: Cache | None = None) -> Stairs:
        """The widths that this device works in: measured once per machine and runtime, a few seconds."""
        cache = cache or Cache()
        name = f"stairs-{self.fingerprint.key()}"
        known = cache.load(name).get("stairs")
        if known is not None:
            return Stairs(**known)
        stairs = probe(self._time_singles)
        cache.save(name, {"fingerprint": asdict(self.fingerprint), "stairs": stairs.record()})
        return stairs

    def record(self) -> dict[str, Any]:
        """What a report says of the device."""
        here = self.fingerprint
        return {"name": self.name, "provenance": self.provenance, **asdict(here)}

    def _time_singles(self, singles: Sequence[Single]) -> list[float]:
        sessions = [Session(single.model, threads=self.threads) for single in singles]
        jobs = [session.job(session.random_feeds()) for session in sessions]
        clock = time.thread_time if self.threads == 1 else time.process_time
        timings = interleave(jobs, cpu_clock=clock, spread=0.03, limit_s=2.0, turn_s=0.005, least_turns=6)
        return [timing.cpu_s if self.threads == 1 else timing.wall_s for timing in timings]
