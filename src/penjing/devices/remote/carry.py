"""Times the networks of this folder where penjing is not installed, and writes measurements.csv.

    python3 carry.py

Needs Python 3.10 or newer, onnxruntime and numpy. Where there is none of them, run every file of
`networks.txt` by whatever tool the device has, and write measurements.csv by hand: a line `file,latency_ms`,
then one line for each file.
"""

from __future__ import annotations

import csv
import json
import sys
import time
from pathlib import Path
from statistics import fmean


def main() -> None:
    """Times groups of files, each against one another, and writes one row per file."""
    folder = Path(__file__).resolve().parent
    sys.path.insert(0, str(folder))
    import numpy
    from clock import beside_first, interleave  # type: ignore[import-not-found, unused-ignore]
    from runner import job_of, machine  # type: ignore[import-not-found, unused-ignore]

    job = json.loads((folder / "job.json").read_text())
    inputs = dict(numpy.load(folder / "inputs.npz"))
    where = machine()
    threads = job["threads"]
    clock = time.thread_time if threads == 1 else time.process_time
    rows = []
    for number, group in enumerate(job["groups"], 1):
        names = group["files"]
        print(f"{number} of {len(job['groups'])}: {len(names)} files", flush=True)
        given = inputs if group["inputs"] else {}
        jobs = [job_of(folder, name, given, threads) for name in names]
        order = beside_first(len(names)) if group["beside"] else range(len(names))
        timings = interleave([jobs[place] for place in order], cpu_clock=clock, **group["options"])
        for place, name in enumerate(names):
            own = [timing for timing, at in zip(timings, order, strict=True) if at == place]
            wall, cpu = fmean(one.wall_s for one in own), fmean(one.cpu_s for one in own)
            row = {
                "file": name,
                "latency_ms": wall * 1e3,
                "cpu_ms": cpu * 1e3,
                "runs": sum(o.runs for o in own),
            }
            rows.append({**row, "bundle": job["bundle"], "threads": threads, **where})
    with (folder / "measurements.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    print("written: measurements.csv")


if __name__ == "__main__":
    main()
