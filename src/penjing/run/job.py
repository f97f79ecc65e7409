"""A job as given, and what it comes to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from penjing.criteria import Aggregate, Criterion, Normalise
from penjing.devices import Device
from penjing.plan import Budget, Plan
from penjing.recover import Evaluate, Loss, Step, Watch
from penjing.report import Report
from penjing.run.iterative import Iterative
from penjing.surgery import Proof


@dataclass(frozen=True, eq=False)
class Job:
    """Everything that a run starts from.

    Attributes:
        model: trained; never changed.
        example_inputs: a tensor, a tuple or a dict, as the model is called.
        budget: what the result may cost.
        device: where it must run.
        criterion: what units are worth.
        aggregate: how the slices of a unit are put together.
        normalise: how axes are made comparable; None for the criterion's own way.
        why: what speaks for that criterion, for the report.
        data: calibration batches, readable more than once.
        loss: (outputs, batch) -> scalar.
        evaluate: model -> figure of merit, higher for better.
        recover: steps, in order.
        keep: name patterns of axes to leave alone.
        only: name patterns of the axes to cut; None for all.
        exact: by axis name, how much of it to keep: a share, or a number of units.
        seed: of everything random.
        source: where the model came from, for the recipe.
        log: told of every event, besides the run's own log.
        schedule: the rounds to cut in; None for a single cut.
        depth: whether residual branches may go as a whole.
    """

    model: nn.Module
    example_inputs: Any
    budget: Budget
    device: Device
    criterion: Criterion
    aggregate: Aggregate
    normalise: Normalise | None
    why: str
    data: Iterable[Any] | None
    loss: Loss | None
    evaluate: Evaluate | None
    recover: tuple[Step, ...]
    keep: Sequence[str]
    only: Sequence[str] | None
    exact: Mapping[str, float | int]
    seed: int
    source: str
    log: tuple[Watch, ...] = ()
    schedule: Iterative | None = None
    depth: bool = False


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a run comes to.

    Attributes:
        model: the smaller network.
        plan: what was kept.
        report: every figure.
        proof: the check of the cut.
        folder: the complete run directory, in a temporary place; it goes with this object.
    """

    model: nn.Module
    plan: Plan
    report: Report
    proof: Proof
    folder: Path
