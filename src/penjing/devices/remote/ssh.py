"""The CPU of another machine, through ONNX Runtime there, over SSH."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from inspect import getfile
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from penjing.devices import clock, processor
from penjing.devices.clock import Timing, beside_first, choose_basis
from penjing.devices.feeds import feeds
from penjing.devices.fingerprint import Fingerprint
from penjing.devices.measurement import Measurement
from penjing.devices.refusal import existing, refused
from penjing.devices.single import Single
from penjing.devices.size import weights_beside
from penjing.devices.timed import LEAST_S, PATIENCE_S, SESSIONS, Job, Timed
from penjing.errors import PenjingError
from penjing.network import Call

Files = Mapping[str, bytes | Path]

_OPTIONS: Final = (
    "-o", "BatchMode=yes", "-o", "ConnectTimeout=10",
    "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3",
)  # fmt: skip
"""Nobody is there to type a password, and a machine that falls silent is noticed within 15 seconds."""

_LOST: Final = 255
"""Exit status of ssh itself."""

_HOST: Final = re.compile(r"[A-Za-z0-9][\w.@:%-]*|\[[0-9a-fA-F:]+\]")


@dataclass(frozen=True)
class Way:
    """How another machine is reached: as `Ssh` has it."""

    host: str
    python: str
    config: str


@dataclass(frozen=True)
class Ssh(Timed):
    """ONNX Runtime on another machine.

    Every measurement is one connection: artifacts, inputs and a small runner are sent, timed there in turns
    as here, and removed. The machine needs `python3` with onnxruntime and numpy, `tar` and a shell; keys have
    to be in place, for nothing is asked. Whatever `~/.ssh/config` says of the host holds.

    Attributes:
        host: as for `ssh`: a name of the configuration, or `user@host`.
        python: the command there.
        config: the client's configuration; "" for the usual one.
    """

    host: str = ""
    python: str = "python3"
    config: str = ""
    name: ClassVar[str] = "ssh"
    summary: ClassVar[str] = "another machine's CPU through ONNX Runtime there, timed over SSH: `ssh:HOST`"
    package: ClassVar[str] = "ssh"
    module: ClassVar[str] = ""

    def __post_init__(self) -> None:
        """Refuses what is no host, before anything is tried.

        Raises:
            PenjingError: PJ406, no such host or so many threads; PJ409, there is no `ssh` here.
        """
        if not _HOST.fullmatch(self.host):
            raise PenjingError(
                "PJ406",
                f"device `ssh` cannot reach `{self.host}`",
                because="a host is a name of ~/.ssh/config, or user@host",
                tries=["ssh:user@host"],
            )
        super().__post_init__()

    @classmethod
    def missing(cls) -> str:
        """An SSH client, if there is none."""
        return "" if shutil.which("ssh") else "an SSH client"

    @classmethod
    def install(cls) -> str:
        """A client comes with the system."""
        return "install an OpenSSH client"

    @property
    def spec(self) -> str:
        """`ssh:HOST`."""
        return f"ssh:{self.host}"

    @property
    def runtime(self) -> str:
        """That of the other machine."""
        return _machine(self._way)["runtime"]

    @property
    def fingerprint(self) -> Fingerprint:
        """Of the other machine."""
        there = _machine(self._way)
        return Fingerprint(there["cpu"], there["runtime"], self.threads)

    def record(self) -> dict[str, Any]:
        """What a report says of the device."""
        return {**super().record(), "host": self.host}

    def job(self, artifact: Path, call: Call | None) -> Job:
        """One measurement there; timing it here would time the network between."""
        return lambda: self.measure(artifact, call=call, limit_s=0.0)

    def single(self, single: Single) -> Job:
        """Likewise."""
        return lambda: self._time_singles([single])

    def measure(
        self, artifacts: Path | str | Sequence[Path | str], *, call: Call | None = None, limit_s: float = 30.0
    ) -> list[Measurement]:
        """Times artifacts against one another there, in turns, until their medians stand still.

        Raises:
            PenjingError: PJ404 or PJ405, there is no such file, or the runtime refuses it or the inputs;
                PJ411, the machine cannot be reached, or is lost on the way.
        """
        paths = [artifacts] if isinstance(artifacts, str | Path) else artifacts
        (timings,) = self._asked(_named(paths), call, 1, {"limit_s": limit_s})
        basis = choose_basis(timings, threads=self.threads)
        return [Measurement.of(timing, basis) for timing in timings]

    def beside(
        self,
        one: Path | str,
        others: Sequence[Path | str],
        *,
        call: Call | None = None,
        limit_s: float = 30.0,
    ) -> list[Measurement]:
        """Times artifacts in turns with the first one there, as `compare` does.

        Raises:
            PenjingError: as for `measure`.
        """
        paths = [one, *others]
        options = {"limit_s": limit_s, "least_s": LEAST_S, "warm": False}
        (timings,) = self._asked(_named(paths), call, 1, options, order=beside_first(len(paths)))
        basis = choose_basis(timings, threads=self.threads)
        return Measurement.beside_first([Measurement.of(timing, basis) for timing in timings])

    def compare(
        self, one: Path | str, other: Path | str, *, call: Call | None = None
    ) -> tuple[Measurement, Measurement]:
        """Times two artifacts against one another there, over several pairs of fresh sessions.

        Raises:
            PenjingError: as for `measure`.
        """
        options = {"limit_s": PATIENCE_S / SESSIONS, "least_s": LEAST_S, "warm": False}
        found = []
        for timings in self._asked(_named([one, other]), call, SESSIONS, options):
            basis = choose_basis(timings, threads=self.threads)
            found.append([Measurement.of(timing, basis) for timing in timings])
        first, second = (Measurement.mean(column) for column in zip(*found, strict=True))
        return first, second

    @property
    def _way(self) -> Way:
        return Way(self.host, self.python, self.config)

    def _time_singles(self, singles: Sequence[Single]) -> list[float]:
        files = {f"{place}.onnx": single.model for place, single in enumerate(singles)}
        options = {"spread": 0.03, "limit_s": 2.0, "turn_s": 0.005, "least_turns": 6}
        (timings,) = self._asked(files, None, 1, options)
        return [timing.cpu_s if self.threads == 1 else timing.wall_s for timing in timings]

    def _asked(
        self,
        files: Files,
        call: Call | None,
        sessions: int,
        options: Mapping[str, Any],
        order: Sequence[int] | None = None,
    ) -> list[list[Timing]]:
        """Timings there, per session and artifact, or per place of the order in which they take turns."""
        job = {
            "order": order,
            "artifacts": [name for name in files if not name.endswith(".data")],
            "threads": self.threads,
            "sessions": sessions,
            "patience_s": PATIENCE_S,
            "options": dict(options),
        }
        inputs = io.BytesIO()
        np.savez(inputs, **({} if call is None else feeds(call)))  # type: ignore[arg-type]
        sent = {**files, "job.json": json.dumps(job).encode(), "inputs.npz": inputs.getvalue()}
        found = _ask(self._way, sent)
        return [[Timing(**timing) for timing in session] for session in found["sessions"]]


@cache
def _machine(way: Way) -> dict[str, str]:
    """What the other machine is; asked once."""
    job = {"artifacts": [], "threads": 1, "sessions": 0, "patience_s": 0.0, "options": {}}
    found: dict[str, str] = _ask(way, {"job.json": json.dumps(job).encode()})["machine"]
    return found


def _named(paths: Sequence[Path | str]) -> dict[str, bytes | Path]:
    """Artifacts, and weights beside them, under the names that they have there."""
    found: dict[str, bytes | Path] = {}
    for place, path in enumerate(map(Path, paths)):
        # weights that lie beside an artifact are known to it by their name
        folder = f"{place}/"
        found[f"{folder}{path.name}"] = existing(path)
        if weights_beside(path).is_file():
            found[f"{folder}{weights_beside(path).name}"] = weights_beside(path)
    return found


def _ask(way: Way, files: Files) -> dict[str, Any]:
    """Sends files and the runner in one connection, and returns what it says.

    Raises:
        PenjingError: PJ405, it refuses an artifact; PJ411, the machine cannot be reached, is lost on the way
            (after a second trial), or lacks what is needed.
    """
    here, host = Path(__file__).parent, way.host
    command = ["ssh", *(["-F", way.config] if way.config else []), *_OPTIONS, "--", host]
    beside = {path.name: path for path in map(Path, map(getfile, (clock, processor)))}
    packed = _packed({**files, "runner.py": here / "runner.py", **beside})
    script = f'd=$(mktemp -d) && trap \'rm -rf "$d"\' EXIT && tar xf - -C "$d" && {way.python} "$d/runner.py"'
    for trial in (1, 2):
        done = subprocess.run([*command, script], input=packed, capture_output=True, check=False)
        if done.returncode != _LOST or trial == 2:
            break
    if done.returncode == _LOST:
        raise PenjingError(
            "PJ411",
            f"`{host}` cannot be reached, or was lost on the way",
            because=_last(done.stderr) or "ssh gives no reason",
            tries=[f"ssh {host} true", "penjing resume RUN: what was measured is kept"],
        )
    said = _last(done.stdout)
    try:
        found: dict[str, Any] = json.loads(said)
    except ValueError:
        raise _unfit(
            host,
            (_last(done.stderr) or said)[:400] or f"it ends with status {done.returncode}, and says nothing",
        ) from None
    if "error" in found:
        if found["error"].startswith(("ModuleNotFoundError", "ImportError")):
            raise _unfit(host, found["error"])
        raise refused(f"ONNX Runtime on `{host}`", "the artifact", RuntimeError(found["error"]))
    return found


def _unfit(host: str, because: str) -> PenjingError:
    return PenjingError(
        "PJ411",
        f"`{host}` cannot time anything",
        because=because,
        tries=[
            "install there: pip install onnxruntime numpy",
            'another Python there: Ssh(host=..., python="...")',
        ],
    )


def _packed(files: Files) -> bytes:
    """An archive of the files, by the names they are to have."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, held in files.items():
            data = held if isinstance(held, bytes) else held.read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return content.getvalue()


def _last(stream: bytes) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in stream.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else ""
