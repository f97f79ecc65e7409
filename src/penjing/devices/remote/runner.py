"""Times artifacts with ONNX Runtime where penjing is not installed.

This file, `clock.py` and `processor.py` are sent there; none of them needs more than Python and the runtime.

    python3 runner.py

Reads `job.json` and `inputs.npz` beside it, and prints one line of JSON: what the machine is, and per session
and artifact what a run took.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def machine() -> dict[str, str]:
    """The processor and the runtime."""
    import onnxruntime
    from processor import cpu_name  # type: ignore[import-not-found, unused-ignore]

    return {"cpu": cpu_name(), "runtime": "onnxruntime " + onnxruntime.__version__}


def job_of(folder: Path, name: str, inputs: dict[str, Any], threads: int) -> Callable[[], object]:
    """A fresh session of an artifact, run once already."""
    import numpy
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(folder / name), options, providers=["CPUExecutionProvider"])
    feeds = {}
    for entry in session.get_inputs():
        if entry.name in inputs:
            feeds[entry.name] = inputs[entry.name]
        else:
            shape = [size if isinstance(size, int) else 1 for size in entry.shape]
            feeds[entry.name] = numpy.random.default_rng(0).standard_normal(shape).astype("float32")
    session.run(None, feeds)
    return lambda: session.run(None, feeds)


def main() -> None:
    """Does the job."""
    folder = Path(__file__).parent
    sys.path.insert(0, str(folder))
    job = json.loads((folder / "job.json").read_text())
    found: dict[str, Any] = {"machine": machine(), "sessions": []}
    if job["artifacts"]:
        import numpy
        from clock import interleave  # type: ignore[import-not-found, unused-ignore]

        inputs = dict(numpy.load(folder / "inputs.npz"))
        clock = time.thread_time if job["threads"] == 1 else time.process_time
        end = time.perf_counter() + job["patience_s"]
        while len(found["sessions"]) < job["sessions"]:
            if found["sessions"] and time.perf_counter() > end:
                break
            jobs = [job_of(folder, name, inputs, job["threads"]) for name in job["artifacts"]]
            if job.get("order"):
                jobs = [jobs[place] for place in job["order"]]
            timings = interleave(jobs, cpu_clock=clock, **job["options"])
            found["sessions"].append([vars(timing) for timing in timings])
    print(json.dumps(found))


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # whatever it is, whoever asked is to read it
        print(json.dumps({"error": type(error).__name__ + ": " + str(error)}))
        sys.exit(1)
