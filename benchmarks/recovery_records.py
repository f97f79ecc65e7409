"""What the benchmarks of recovery share: kept cuts, steps applied to copies of them, stored figures."""

from __future__ import annotations

import json
import platform
import shutil
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from recovery_networks import cache
from revision import commit
from torch import Tensor, nn

import penjing as pj
from penjing.demo.task import quick_precision
from penjing.devices import Cpu
from penjing.recover import Situation, Step

RESULTS = Path(__file__).parent / "results"

PRECISION = quick_precision()
"""Of training."""

Row = dict[str, Any]


@dataclass
class Records:
    """The results of one script, written after every change.

    Attributes:
        name: of the script, without `bench_`; also of the file.
        found: whatever is known: "networks", and "jobs" by job, side and cut.
    """

    name: str
    found: Row

    @classmethod
    def read(cls, name: str) -> Records:
        return cls(name, _stored(name))

    def row(self, job: str, side: str, cut: str) -> Row:
        """What is known of one cut; empty where nothing is."""
        rows = self.found["jobs"].setdefault(job, {}).setdefault(side, {})
        found: Row = rows.setdefault(cut, {})
        return found

    def forget(self, job: str, given: Namespace) -> None:
        """Drops what is asked for afresh: the recoveries that are named, or cuts with all of theirs."""
        sides = self.found["jobs"].get(job, {}) if given.fresh else {}
        for side in [name for name in sides if getattr(given, "only", None) in (None, name)]:
            for cut in wanted(list(sides[side]), given):
                if not given.recovery:
                    del sides[side][cut]
                for name in given.recovery or ():
                    sides[side][cut]["recovered"].pop(name, None)
        self._write(self.found)

    def note(self, row: Row, job: str, cut: str, name: str, figures: Row) -> None:
        """Keeps what one recovery came to, and says it."""
        figures = {key: value for key, value in figures.items() if value != []}
        row["recovered"][name] = {**figures, "commit": commit(), "date": str(date.today())}
        self.keep()
        print(f"{job}  {cut:<38}{name:<28}{json.dumps(figures)}", flush=True)

    def keep(self) -> None:
        """Writes what is known so far, beside what other processes have found meanwhile."""
        with FileLock(cache() / f"{self.name}.lock"):
            self._write(_merged(_stored(self.name), self.found))

    def _write(self, found: Row) -> None:
        head = {
            "command": f"python benchmarks/bench_{self.name}.py",
            "device": Cpu().record(),
            "python": platform.python_version(),
            "torch": torch.__version__,
        }
        RESULTS.mkdir(exist_ok=True)
        partial = RESULTS / f"{self.name}.partial"
        partial.write_text(json.dumps({**found, **head}, indent=1) + "\n")
        partial.replace(RESULTS / f"{self.name}.json")

    def summary(self, figure: str) -> str:
        """The best of every side at every point by one figure, as a table."""
        names: dict[str, None] = {}
        best: dict[str, dict[str, float]] = {}
        for job, sides in sorted(self.found["jobs"].items()):
            for side, rows in sides.items():
                line = best.setdefault(f"{job}, {side}", {})
                for name, figures in ((n, f) for row in rows.values() for n, f in row["recovered"].items()):
                    names[name] = None
                    line[name] = max(line.get(name, 0.0), figures[figure])
        lines = [" " * 32 + "".join(f"{name:>28}" for name in names)]
        for job, line in best.items():
            cells = (f"{line[name]:>28.2%}" if name in line else " " * 28 for name in names)
            lines.append(f"{job:<32}" + "".join(cells))
        return "\n".join(lines)


def _stored(name: str) -> Row:
    path = RESULTS / f"{name}.json"
    found: Row = json.loads(path.read_text()) if path.exists() else {"networks": {}, "jobs": {}}
    return found


def _merged(one: Row, other: Row) -> Row:
    """Both, level by level; where they differ, the second counts; of a cut that was made anew, it alone."""
    if "recovered" in other and one.get("latency") != other.get("latency"):
        return other
    both = {
        key: _merged(one[key], other[key])
        for key in one.keys() & other.keys()
        if isinstance(other[key], dict)
    }
    return {**one, **other, **both}


def kept_cut(row: Row, folder: str, prune: Callable[[], pj.Result], original: nn.Module) -> Path:
    """Where a run without recovery lies; made now where it does not, and `row` filled with what it is.

    Cuts are kept beside the downloads, so that recoveries that come later start from the same.
    """
    path = cache() / "cuts" / folder
    if row and path.exists():
        return path
    start = time.perf_counter()
    result = prune()
    shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    result.save(path)
    before, after = result.report.before.latency_ms, result.report.after.latency_ms
    assert before is not None
    assert after is not None
    row.clear()
    row.update(
        latency=round(after / before, 4),
        params=round(parameters(result.model) / parameters(original), 4),
        proof=result.proof.max_error,
        widths=result.plan.counts(),
        dropped=list(result.plan.dropped),
        seconds=round(time.perf_counter() - start, 1),
        recovered={},
    )
    return path


def loaded(path: Path, factory: Callable[[], nn.Module]) -> tuple[nn.Module, pj.Plan]:
    """A kept cut, and its plan."""
    return pj.load(path, factory), pj.Plan.model_validate_json((path / "plan.json").read_text())


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@dataclass(frozen=True)
class Recovery:
    """One way of getting accuracy back.

    Attributes:
        steps: in order.
        after: name of the recovery to go on from; None for the cut itself.
        taught: whether its steps only ask the original for outputs, on batches that others may ask about too.
    """

    steps: Sequence[Step] = ()
    after: str | None = None
    taught: bool = False


class Remembered(nn.Module):
    """A teacher that is asked about the same batches time and again, and works each out once.

    What trains from one seed sees the same batches, whatever is trained.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._known: dict[bytes, Tensor] = {}

    def forward(self, inputs: Tensor) -> Tensor:
        key = sha256(inputs.numpy().tobytes()).digest()
        if key not in self._known:
            self._known[key] = self.model(inputs)
        return self._known[key]


class Trial:
    """Recoveries of one cut; what several go on from is made once."""

    def __init__(
        self,
        cut: nn.Module,
        table: Mapping[str, Recovery],
        situation: Situation,
        teacher: Remembered | None = None,
    ) -> None:
        self._table, self._situation, self._teacher = table, situation, teacher
        self._made: dict[str | None, tuple[nn.Module, Row]] = {None: (cut, {"seconds": 0.0, "notes": []})}

    def run(self, name: str | None) -> tuple[nn.Module, Row]:
        """The model after a recovery, and the seconds and notes of all steps up to there."""
        if name not in self._made:
            assert name is not None
            recovery = self._table[name]
            former, known = self.run(recovery.after)
            model, start = deepcopy(former), time.perf_counter()
            situation = self._situation
            if recovery.taught and self._teacher is not None:
                situation = replace(situation, original=self._teacher)
            notes = [note for step in recovery.steps for note in step.apply(model, situation).notes]
            seconds = round(known["seconds"] + time.perf_counter() - start, 1)
            self._made[name] = model.eval(), {"seconds": seconds, "notes": [*known["notes"], *notes]}
        return self._made[name]


def missing(row: Row, table: Mapping[str, Any], given: Namespace) -> list[str]:
    """Which recoveries of a table are asked for and have no figures yet."""
    asked = [name for name in table if not given.recovery or name in given.recovery]
    return [name for name in asked if name not in row["recovered"]]


def wanted(cuts: Iterable[str], given: Namespace) -> list[str]:
    """Which cuts are asked for."""
    return [cut for cut in cuts if not given.cut or cut in given.cut]


def arguments(description: str | None, budgets: Sequence[float]) -> ArgumentParser:
    """What every script may be told."""
    parser = ArgumentParser(description=description, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, nargs="*", default=budgets)
    parser.add_argument("--cut", nargs="*", help="criteria, or ways of torch-pruning; without it all")
    parser.add_argument("--recovery", nargs="*", help="names, such as `closed form`; without it all")
    parser.add_argument("--fresh", action="store_true", help="measure again what is known")
    parser.add_argument("--summary", action="store_true", help="only print the table of what is known")
    return parser
