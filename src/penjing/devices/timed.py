"""Devices that run artifacts on this machine, and time them."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, Final

from penjing.devices.cache import Cache
from penjing.devices.clock import beside_first, choose_basis, interleave
from penjing.devices.fingerprint import Fingerprint
from penjing.devices.measurement import Measurement, Provenance
from penjing.devices.measuring import Measuring
from penjing.devices.processor import cpu_name
from penjing.devices.single import Single
from penjing.devices.stairs import Stairs, probe
from penjing.errors import PenjingError
from penjing.network import Call

Job = Callable[[], object]
"""One run of an artifact."""

SESSIONS: Final = 5
"""Pairs of sessions that a comparison takes the mean over."""

LEAST_S: Final = 0.4
"""Seconds that a comparison times each pair of sessions for, however steady."""

MOST_THREADS: Final = 1024
"""More than any machine has use for; runtimes fail in their own ways on absurd numbers."""

PATIENCE_S: Final = 20.0
"""Seconds after which a comparison begins no other pair."""


@dataclass(frozen=True)
class Timed(Measuring):
    """A runtime on this machine.

    A subclass says how an artifact becomes a job; all timing is done here, alike for every runtime.

    Attributes:
        threads: inside an operator; operators run one after another.
        hosted: whether threads of this process do the work. Of what a GPU computes, their CPU time says
            nothing: it is read by the wall, however busy the machine.
    """

    threads: int = 1
    provenance: ClassVar[Provenance] = "measured"
    hosted: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuses a number of threads that cannot be, and a runtime that is not there.

        Raises:
            PenjingError: PJ406, so many threads; PJ409, what the runtime needs is not here.
        """
        if not 1 <= self.threads <= MOST_THREADS:
            raise PenjingError(
                "PJ406", f"device `{self.name}` cannot run on {self.threads} threads", tries=["threads=1"]
            )
        self.require()

    @property
    def runtime(self) -> str:
        """Name and version of what runs the artifact."""
        return f"{self.package} {metadata.version(self.package)}"

    @property
    def fingerprint(self) -> Fingerprint:
        """What the measurements of this device depend on."""
        return Fingerprint(self.hardware, self.runtime, self.threads)

    @property
    def hardware(self) -> str:
        """Names of the processors that the time depends on."""
        return cpu_name()

    @abstractmethod
    def job(self, artifact: Path, call: Call | None) -> Job:
        """A fresh session of an artifact as a job, run once already.

        Args:
            artifact: the file, in the device's `form`.
            call: the inputs to run it on; made up from its own shapes where it is None.

        Raises:
            PenjingError: PJ404 or PJ405, there is no such file, or the runtime refuses it or the inputs.
        """

    @abstractmethod
    def single(self, single: Single) -> Job:
        """A model of one operator as a job, likewise."""

    def measure(
        self, artifacts: Path | str | Sequence[Path | str], *, call: Call | None = None, limit_s: float = 30.0
    ) -> list[Measurement]:
        """Times artifacts against one another, in turns in this process, until their medians stand still.

        Args:
            artifacts: one file or several.
            call: the inputs to run them on; made up from their own shapes where it is None.
            limit_s: seconds after which the medians are taken as they are; `spread` says how good.

        Returns:
            One measurement per artifact, in a list, all on the same basis.

        Raises:
            PenjingError: PJ404 or PJ405, there is no such file, or the runtime refuses it or the inputs.
        """
        paths = [artifacts] if isinstance(artifacts, str | Path) else artifacts
        return self._timed(paths, call, limit_s, warm=True)

    def beside(
        self,
        one: Path | str,
        others: Sequence[Path | str],
        *,
        call: Call | None = None,
        limit_s: float = 30.0,
    ) -> list[Measurement]:
        """Times artifacts in turns with the first one, as `compare` does, in one session of each.

        Only so do they say what `compare` will: a network of a tenth of a millisecond takes up to half more
        when the caches are as one of two milliseconds left them than when it runs over and over.
        """
        order = beside_first(1 + len(others))
        return Measurement.beside_first(self._timed([one, *others], call, limit_s, warm=False, order=order))

    def compare(
        self, one: Path | str, other: Path | str, *, call: Call | None = None
    ) -> tuple[Measurement, Measurement]:
        """Times two artifacts against one another, so that their ratio holds on a second look too.

        Half of the runs find the caches as the other artifact left them: how much slower that is differs
        between the two. And where a session happens to lie in memory moves the time of a small network by
        up to 3 % as long as it lives: the mean over several pairs of fresh sessions is taken.

        Args:
            one: a file.
            other: another.
            call: as for `measure`.

        Returns:
            A measurement of each, both on the same basis.

        Raises:
            PenjingError: as for `measure`.
        """
        found: list[list[Measurement]] = []
        end = time.perf_counter() + PATIENCE_S
        while len(found) < SESSIONS and (not found or time.perf_counter() < end):
            found.append(self._timed([one, other], call, PATIENCE_S / SESSIONS, warm=False))
        first, second = (Measurement.mean(column) for column in zip(*found, strict=True))
        return first, second

    def stairs(self, cache: Cache | None = None) -> Stairs:
        """The widths that this device works in: measured once per machine and runtime, a few seconds."""
        cache = cache or Cache()
        name = f"stairs-padded-{self.fingerprint.key()}"
        known = cache.load(name).get("stairs")
        if known is not None:
            return Stairs(**known)
        stairs = probe(self._time_singles)
        cache.save(name, {"fingerprint": asdict(self.fingerprint), "stairs": stairs.record()})
        return stairs

    def record(self) -> dict[str, Any]:
        """What a report says of the device."""
        return {"name": self.name, "provenance": self.provenance, **asdict(self.fingerprint)}

    def _timed(
        self,
        paths: Sequence[Path | str],
        call: Call | None,
        limit_s: float,
        *,
        warm: bool,
        order: Sequence[int] | None = None,
    ) -> list[Measurement]:
        """Fresh sessions, timed in turns, in this order where one is given; it may name some repeatedly."""
        jobs = [self.job(Path(path), call) for path in paths]
        timings = interleave(
            jobs if order is None else [jobs[place] for place in order],
            cpu_clock=self._cpu_clock,
            limit_s=limit_s,
            least_s=0.0 if warm else LEAST_S,
            warm=warm,
            basis=None if self.hosted else "wall",
        )
        basis = choose_basis(timings, threads=self.threads) if self.hosted else "wall"
        return [Measurement.of(timing, basis) for timing in timings]

    def _time_singles(self, singles: Sequence[Single]) -> list[float]:
        jobs = [self.single(single) for single in singles]
        timings = interleave(
            jobs,
            cpu_clock=self._cpu_clock,
            spread=0.03,
            limit_s=2.0,
            turn_s=0.005,
            least_turns=6,
            basis=None if self.hosted else "wall",
        )
        by_cpu = self.hosted and self.threads == 1
        return [timing.cpu_s if by_cpu else timing.wall_s for timing in timings]

    @property
    def _cpu_clock(self) -> Callable[[], float]:
        """The calling thread's where a job stays in it, else the process's."""
        return time.thread_time if self.threads == 1 else time.process_time
