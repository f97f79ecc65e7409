"""The Vela compiler: what it says of an int8 LiteRT file on an Arm Ethos-U."""

from __future__ import annotations

import csv
import hashlib
import re
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from penjing.devices.refusal import existing
from penjing.devices.tool import ask, last_words
from penjing.errors import PenjingError

_KIB: Final = 1024.0


@dataclass(frozen=True)
class Compiled:
    """Vela's summary of one network.

    Attributes:
        cycles: of one inference, on the NPU, memory stalls included.
        latency_s: the same in seconds.
        clock_hz: of the NPU.
        sram_bytes: largest use of the memory that activations live in.
        flash_bytes: encoded weights and commands.
        on_cpu: operators that Vela leaves to the CPU, in its own words; their time is in no figure.
        on_npu: how many operators the NPU runs.
    """

    cycles: float
    latency_s: float
    clock_hz: float
    sram_bytes: float
    flash_bytes: float
    on_cpu: tuple[str, ...]
    on_npu: int


def compiled(artifact: Path | bytes, accelerator: str, system: str, mode: str) -> Compiled:
    """Compiles an int8 `.tflite` file.

    Args:
        artifact: the file, or its content.
        accelerator: e.g. `ethos-u55-128`.
        system: a system configuration of Vela's own `vela.ini`.
        mode: a memory mode of it.

    Raises:
        PenjingError: PJ404, there is no such file; PJ405, Vela refuses it.
    """
    name = "the model" if isinstance(artifact, bytes) else str(artifact)
    content = artifact if isinstance(artifact, bytes) else existing(artifact).read_bytes()
    found = _compiled(content, hashlib.sha256(content).hexdigest(), accelerator, system, mode)
    if isinstance(found, str):
        raise PenjingError(
            "PJ405",
            f"Vela refuses `{name}`",
            because=found,
            tries=["replace the operator that it names", "an int8 file: --device ethos-u55-128 makes one"],
        )
    return found


@lru_cache(maxsize=64)
def _compiled(content: bytes, key: str, accelerator: str, system: str, mode: str) -> Compiled | str:
    """The summary, or why there is none; `key` stands for the content."""
    with tempfile.TemporaryDirectory(prefix="penjing-vela-") as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(content)
        options = [
            str(path), "--accelerator-config", accelerator, "--output-dir", folder,
            "--config", "Arm/vela.ini", "--system-config", system, "--memory-mode", mode,
        ]  # fmt: skip
        well, text = ask("from ethosu.vela.vela import main; raise SystemExit(main())", options)
        if not well:
            return last_words(text)
        (summary,) = Path(folder).glob("*_summary_*.csv")
        with summary.open(newline="", encoding="utf-8") as file:
            row = next(csv.DictReader(file))
    on_npu = re.search(r"NPU operators = (\d+)", text)
    flash = sum(float(row[f"{kind}_flash_memory_used"]) for kind in ("on_chip", "off_chip"))
    return Compiled(
        cycles=float(row["cycles_total"]),
        latency_s=float(row["inference_time"]),
        clock_hz=float(row["core_clock"]),
        sram_bytes=_KIB * float(row["sram_memory_used"]),
        flash_bytes=_KIB * (flash + float(row["dram_memory_used"])),
        on_cpu=_left_out(text),
        on_npu=int(on_npu[1]) if on_npu else 0,
    )


def _left_out(text: str) -> tuple[str, ...]:
    """Kind and reason of every operator that stays on the CPU."""
    found = re.findall(r"Warning \(supported operators\) operator: (\w+).*\nReason: (.*)", text)
    return tuple(dict.fromkeys(f"{kind}: {reason.strip()[:80]}" for kind, reason in found))
