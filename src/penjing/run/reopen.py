"""A finished run, asked for once more."""

from __future__ import annotations

from pathlib import Path

from penjing.errors import PenjingError
from penjing.network import trace
from penjing.plan import Plan
from penjing.run.directory import opened
from penjing.run.identity import identity
from penjing.run.job import Job, Outcome
from penjing.run.load import read_report
from penjing.run.sealed import manifest_of
from penjing.run.session import check_same
from penjing.run.state import load_state
from penjing.surgery import cut


def reopened(job: Job, folder: Path) -> Outcome:
    """The outcome of a job that was done already, from what it wrote: nothing is measured or trained.

    Raises:
        PenjingError: PJ601, the run was saved from somewhere else; PJ610, it is that of another job; PJ603 or
            PJ606, it is damaged.
    """
    before = (manifest_of(folder) or {}).get("job")
    if not before:
        raise PenjingError(
            "PJ601",
            f"`{folder}` holds a finished run",
            because="a run is never written over what is there",
            tries=["name a folder that does not exist yet", f"remove `{folder}` first"],
        )
    check_same(folder, before, identity(job))
    opened(folder, "plan.json", "report.json", "model.safetensors")
    plan = Plan.model_validate_json((folder / "plan.json").read_text(encoding="utf-8"))
    made = cut(trace(job.model, job.example_inputs), plan)
    load_state(made.model, folder / "model.safetensors")
    return Outcome(made.model, plan, read_report(folder), made.proof, folder)
