"""What a search starts from: the weights that are there, and what every unit is worth among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from penjing.network import Network, trace
from penjing.plan import Plan, inside
from penjing.run import crew
from penjing.run.aim import Aim
from penjing.run.search import Ground
from penjing.run.session import Session
from penjing.run.state import write_tensors
from penjing.surgery import regrown, same_axes

SCORES: Final = "scores.safetensors"

Scores = Mapping[str, Tensor]


def untouched(session: Session, net: Network, aim: Aim) -> Ground:
    """The original as it was given."""
    return Ground(
        net, _scored(session, "scores", net, None, lambda scores: scores), share=aim.share, exact=aim.exact
    )


def after(session: Session, net: Network, plan: Plan, model: nn.Module, aim: Aim, name: str) -> Ground:
    """The original with the weights of what was cut from it, whose units are ranked as they work there.

    An axis that the tracer no longer finds in the smaller network is left as it is.

    Args:
        session: of the run.
        net: the original.
        plan: what `model` was cut by.
        model: cut and recovered.
        aim: what is to be reached.
        name: of the scores in the journal.
    """
    with session.log.stage("trace", "tracing"):
        whole = trace(regrown(net, plan, model), net.call)
        small = trace(model, net.call)
    names = same_axes(net, plan, small)
    left = {axis.name: plan.kept.get(axis.name, tuple(range(axis.size))) for axis in net.prunable}

    def placed(scores: Scores) -> Scores:
        """By the axes and units of the original; those that are gone are worth nothing."""
        found = {axis.name: torch.zeros(axis.size, dtype=torch.float64) for axis in net.prunable}
        for axis, own in names.items():
            found[axis][list(left[axis])] = scores[own]
        return found

    scores = _scored(session, name, small, plan, placed)
    lost = left.keys() - names.keys() - inside(net, plan)
    stuck = {axis: len(left[axis]) for axis in left if axis in lost and len(left[axis]) > 1}
    return Ground(whole, scores, plan, aim.share, {**aim.exact, **stuck}, tuple(stuck))


def _scored(
    session: Session, name: str, net: Network, plan: Plan | None, placed: Callable[[Scores], Scores]
) -> Scores:
    job = session.job

    def scored(folder: Path) -> dict[str, Any]:
        scores = crew.worth(job, net, plan)
        write_tensors(placed(scores), folder / SCORES, {})
        return {}

    with session.log.stage("score", f"scoring units by {job.criterion.record.name}"):
        return load_file(session.journal.once(name, scored).folder / SCORES)
