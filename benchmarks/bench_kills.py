"""Runs that are killed by SIGKILL at moments in all their stages, and what comes of them when they go on.

    python benchmarks/bench_kills.py [--kills N] [--timed N] [--per-run N] [--seed S] [--keep DIR [--judge]]

`penjing prune` is started on the demo's network (batch norm, two epochs of fine-tuning), killed, and
gone on with by `penjing resume`, which is killed in turn where a run is to have several kills (--per-
run), until the last one is left to end. Moments: a run that nobody stops tells how long each interval
between two lines of its log lasts. For the first kill of a run every interval is taken in turn, for the
others one that is still to come at random, and inside of it a moment at random. The interval before the
first line (imports, the task) and the one after the last (until the process ends) are among them.

With `macs=0.5x` every decision follows from counting: plan.json, model.safetensors, surgery.json,
recipe.toml and both ONNX files must come out as in the run that nobody stopped, byte for byte, and every
step must have been done exactly once in all processes together. With `latency=0.5x` (--timed of the
kills) two runs never measure the same; there, besides, what was on record at a kill must stand in the
report as it was, and the plan, where one was on record, must be that one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from revision import commit

HERE = Path(__file__).parent
RESULT = HERE / "results" / "kills.json"
SAME = ("plan.json", "model.safetensors", "surgery.json", "recipe.toml", "model.onnx", "original.onnx")
BUDGETS = {"macs": ["--budget", "macs=0.5x", "--device", "macs"], "latency": ["--budget", "latency=0.5x"]}
Moment = tuple[str, float]
"""An interval by the line of the log that begins it, and the seconds that it lasts."""

STARTING, ENDING = "before the first line", "after the last line"


def events(run: Path) -> list[dict[str, Any]]:
    """Whole lines of the log."""
    try:
        text = (run / "events.jsonl").read_text()
    except OSError:
        return []
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def label(event: dict[str, Any]) -> str:
    """A line of the log by what it says, without its figures."""
    what = event.get("step") or event.get("name") or event.get("method") or event.get("epoch") or ""
    return f"{event['event']} {what}".strip()


class Job:
    """One run of the command line."""

    def __init__(self, run: Path, budget: str, cache: Path) -> None:
        self.run = run
        self._prune = ["prune", "kills_task.py:task", *BUDGETS[budget], "--epochs", "2", "-o", str(run)]
        self._environment = {**os.environ, "OMP_NUM_THREADS": "1", "PENJING_CACHE": str(cache)}

    def start(self) -> subprocess.Popen[str]:
        """Begins, or goes on."""
        given = ["resume", str(self.run)] if self.run.exists() else self._prune
        return subprocess.Popen(
            [sys.executable, "-m", "penjing", *given], cwd=HERE, env=self._environment, text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def through(self) -> str:
        """To the end; what it says on its error stream if it fails."""
        process = self.start()
        _, said = process.communicate()
        return "" if process.returncode == 0 else said.strip() or f"exit code {process.returncode}"

    def timeline(self) -> list[tuple[str, float]]:
        """Runs without a stop: each interval by the line that begins it, and its seconds."""
        begun = time.monotonic()
        process, marks = self.start(), [(STARTING, begun)]
        while process.poll() is None:
            lines = events(self.run)
            marks += [(label(line), time.monotonic()) for line in lines[len(marks) - 1 :]]
            time.sleep(0.005)
        assert process.returncode == 0, process.stderr.read() if process.stderr else ""
        marks += [(label(line), time.monotonic()) for line in events(self.run)[len(marks) - 1 :]]
        marks.append(("", time.monotonic()))
        marks[-2] = (ENDING, marks[-2][1])
        return [(name, end - start) for (name, start), (_, end) in pairwise(marks)]

    def killed(self, reached: Callable[[list[dict[str, Any]]], bool], wait_s: float) -> bool:
        """Kills it `wait_s` after its log has got so far; False where it was over before."""
        process = self.start()
        while not reached(events(self.run)):
            if process.poll() is not None:
                return False
            time.sleep(0.005)
        time.sleep(wait_s)
        if process.poll() is not None:
            return False
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True


def state(run: Path) -> dict[str, Any]:
    """What is on record, by the name of the step."""
    found = {}
    for path in sorted(run.glob("steps/*/manifest.json")):
        found[path.parent.name] = json.loads((path.parent / "record.json").read_text())["record"]
    return found


def amiss(run: Path, whole: Path | None, records: Sequence[dict[str, Any]] = ()) -> list[str]:
    """What is not as it was on record at a kill, or not as in the run that nobody stopped."""
    report = json.loads((run / "report.json").read_text())
    lines = [event for event in events(run) if event["event"] in ("done", "damaged", "outdated")]
    found = [f"{name}: {times} times" for name, times in Counter(map(label, lines)).items() if times > 1]
    found += [label(line) for line in lines if line["event"] != "done"]
    if whole is not None:
        found += [file for file in SAME if (run / file).read_bytes() != (whole / file).read_bytes()]
    # Where noise made the loop take another turn, the report is that of the last.
    turn = [line["step"].partition("-")[2] for line in lines if line["step"].endswith("plan")][-1]
    for step, measured in candidates(run).items():
        head, _, number = step.rpartition("-candidate-")
        if head == turn and report["candidates"][int(number) - 1]["measured"] != measured:
            found.append(f"{step} was measured again")
    for name, record in (item for recorded in records for item in recorded.items()):
        step = name.partition("-")[2]
        if step == turn and json.loads((run / "plan.json").read_text()) != record["plan"]:
            found.append("another plan than the one on record")
        after = record["pair"][1] if step == turn.removesuffix("plan") + "result" else None
        if after is not None and report["after"]["latency_ms"] != after["latency_ms"]:
            found.append("the result was timed again")
    return found


def candidates(run: Path) -> dict[str, Any]:
    """What was measured of every candidate just before its step was on record, by the name of the step."""
    found, last = {}, None
    for event in events(run):
        last = event["measured"] if event["event"] == "candidate" else last
        if event["event"] == "done" and "-candidate-" in event["step"]:
            found[event["step"].partition("-")[2]] = last
    return found


def killed_run(job: Job, first: int, most: int, moments: list[Moment], draw: random.Random) -> dict[str, Any]:
    """One run, killed up to `most` times, then left to end."""
    kills: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    aim = moments[first]
    while True:
        seen = Counter(map(label, events(job.run)))[aim[0]]

        def reached(lines: list[dict[str, Any]], aim: Moment = aim, seen: int = seen) -> bool:
            if not kills:
                return len(lines) >= first
            wanted = {STARTING: "", ENDING: "finished"}.get(aim[0], aim[0])
            return not wanted or Counter(map(label, lines))[wanted] > seen

        if not job.killed(reached, draw.random() * aim[1]):
            break
        lines = events(job.run)
        records.append(state(job.run))
        fell = label(lines[-1]) if lines else STARTING
        kills.append({"aimed_at": aim[0], "fell_after": fell, "steps_on_record": len(records[-1])})
        names = Counter(map(label, lines))
        open_ones = [m for m in moments if not names[m[0]] and m[0].split()[0] != "stage"]
        if len(kills) == most or "finished" in names:
            break
        aim = draw.choice(open_ones)
    return {"kills": kills, "records": records}


def bench(budget: str, kills: int, per_run: int, folder: Path, draw: random.Random) -> dict[str, Any]:
    """So many kills of runs with one kind of budget."""
    cache, whole = folder / "cache", folder / f"{budget}-whole"
    if budget == "latency":
        Job(folder / "latency-first", budget, cache).through()  # times networks to calibrate with, once
    moments = Job(whole, budget, cache).timeline()
    order: list[int] = []
    rows: list[dict[str, Any]] = []
    fallen: Counter[str] = Counter()
    while fallen.total() < kills:
        if not order:
            order = draw.sample(range(len(moments)), len(moments))
        job = Job(folder / f"{budget}-{len(rows):02d}", budget, cache)
        row = killed_run(job, order.pop(), min(per_run, kills - fallen.total()), moments, draw)
        if not row["kills"]:  # it was over before: another moment
            shutil.rmtree(job.run)
            continue
        start = time.monotonic()
        failed = job.through()
        wrong = [failed] if failed else amiss(job.run, whole if budget == "macs" else None, row["records"])
        rows.append(
            {"kills": row["kills"], "last_resume_s": round(time.monotonic() - start, 1), "amiss": wrong}
        )
        fallen.update(kill["fell_after"] for kill in row["kills"])
        print(
            budget, fallen.total(), [k["fell_after"] for k in row["kills"]], wrong or "as it is", flush=True
        )
    return {
        "budget": budget,
        "intervals": [[name, round(seconds, 3)] for name, seconds in moments],
        "runs": len(rows),
        "runs_as_they_should_be": sum(not row["amiss"] for row in rows),
        "kills": fallen.total(),
        "fell_after": dict(fallen.most_common()),
        "rows": rows,
    }


def judged(folder: Path) -> dict[str, Any]:
    """The stored result, with its runs looked at once more where they were kept."""
    record: dict[str, Any] = json.loads(RESULT.read_text())
    for group in record["groups"]:
        budget = group["budget"]
        whole = folder / f"{budget}-whole" if budget == "macs" else None
        for number, row in enumerate(group["rows"]):
            row["amiss"] = amiss(folder / f"{budget}-{number:02d}", whole)
        group["runs_as_they_should_be"] = sum(not row["amiss"] for row in group["rows"])
    record["runs_as_they_should_be"] = sum(group["runs_as_they_should_be"] for group in record["groups"])
    return record


def stored(record: dict[str, Any]) -> int:
    """Stores a result, and says what it is."""
    RESULT.write_text(json.dumps(record, indent=1) + "\n")
    right = record["runs_as_they_should_be"]
    print(f"{record['kills']} kills; {right} of {record['runs']} runs as they should be")
    return 0 if right == record["runs"] else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--timed", type=int, default=10)
    parser.add_argument("--per-run", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a folder for the runs, which are else removed")
    parser.add_argument("--judge", action="store_true", help="only look once more at the runs in --keep")
    given = parser.parse_args()
    if given.judge:
        return stored(judged(given.keep))
    start, draw = time.monotonic(), random.Random(given.seed)
    with tempfile.TemporaryDirectory(prefix="penjing-kills-") as scratch:
        folder = given.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        plan = {"macs": given.kills - given.timed, "latency": given.timed}
        groups = [bench(name, count, given.per_run, folder, draw) for name, count in plan.items() if count]
    record = {
        "command": "python benchmarks/bench_kills.py "
        f"--kills {given.kills} --timed {given.timed} --per-run {given.per_run} --seed {given.seed}",
        "date": date.today().isoformat(),
        "commit": commit(),
        "device": {"cpu": platform.machine(), "threads": 1},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "wall_s": round(time.monotonic() - start, 1),
        "kills": sum(group["kills"] for group in groups),
        "runs": sum(group["runs"] for group in groups),
        "runs_as_they_should_be": sum(group["runs_as_they_should_be"] for group in groups),
        "groups": groups,
    }
    return stored(record)


if __name__ == "__main__":
    sys.exit(main())
