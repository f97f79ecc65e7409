"""`pj.prune`: the main verb."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from torch import nn

from penjing import processes
from penjing.api.targets import checked_choice, checked_kind, criterion_named, device_named
from penjing.criteria import Aggregate, Criterion, Normalise
from penjing.devices import Device
from penjing.errors import PenjingError
from penjing.network.refused import refused_source
from penjing.plan import Budget, Plan
from penjing.recover import Evaluate, Loss, Step, Synthetic, Watch
from penjing.report import Report
from penjing.run import Iterative, Job, Outcome, publish, run
from penjing.surgery import Proof


@dataclass(frozen=True, eq=False)
class Result:
    """A smaller network, and everything that vouches for it.

    Attributes:
        model: of the user's own class, or the rewritten graph where `report.fallback` says why.
        plan: what was kept.
        report: every figure.
        proof: the check of the cut; `proof.max_error`.
    """

    model: nn.Module
    plan: Plan
    report: Report
    proof: Proof
    _outcome: Outcome = field(repr=False)

    def save(self, directory: Path | str) -> Path:
        """Writes the run directory: all of it, or nothing. Of several processes, the first one does.

        Args:
            directory: does not exist yet, or is empty; or the one that `prune` was given.

        Raises:
            PenjingError: PJ601, it is not empty; PJ602, it cannot be written.
        """
        if Path(directory).resolve() == self._outcome.folder.resolve():
            return Path(directory)
        if not processes.is_first():
            return Path(directory)
        return publish(self._outcome.folder, directory)


def prune(
    model: nn.Module,
    example_inputs: Any,
    *,
    budget: Budget | str,
    device: Device | str = "cpu",
    criterion: Criterion | str | None = None,
    aggregate: Aggregate = "sum",
    normalise: Normalise | None = None,
    data: Iterable[Any] | Synthetic | None = None,
    loss: Loss | None = None,
    evaluate: Evaluate | None = None,
    recover: Step | Sequence[Step] | None = None,
    keep: Sequence[str] | None = None,
    only: Sequence[str] | None = None,
    exact: Mapping[str, float | int] | None = None,
    depth: bool = False,
    schedule: Iterative | None = None,
    seed: int = 0,
    threads: int = 1,
    source: str = "",
    directory: Path | str | None = None,
    log: Watch | Sequence[Watch] | None = None,
) -> Result:
    """Makes a network smaller until it is measured to fit a budget.

    Under `torchrun` or `accelerate launch` all processes make the same call, and have the same result. The
    first one measures, decides, evaluates and writes; statistics and training are shared.

    Args:
        model: trained; it is not changed.
        example_inputs: a tensor, a tuple or a dict, as the model is called.
        budget: `pj.Budget(latency="0.5x", size="2MB")`, or the same as text: `"latency=0.5x,size=2MB"`. With
            a floor, `metric>=0.92` or `metric>=0.99x` of the original's, it is the smallest network found
            that holds it; the floor goes before all bounds.
        device: where it must run; a name of `penjing devices`, or a device.
        criterion: what units are worth; a name of `penjing criteria`, or a criterion. None for the best that
            the data allow: `obs` with `data`, else `magnitude`.
        aggregate: how the worth of a unit's slices in several tensors is put together: "sum", "mean" or
            "max".
        normalise: how axes are made comparable: "none", "mean", "l2" or "rank"; None for the criterion's
            own way.
        data: calibration batches, `inputs` or `(inputs, targets)`; `pj.Synthetic()` where there are none.
        loss: (outputs, batch) -> scalar.
        evaluate: model -> figure of merit, higher for better. It is given the exported artifact in the
            place of the model, so that the metric is that of what is shipped.
        recover: a step or several in order, such as `pj.FineTune(epochs=3, train=loader)`; None for none.
        keep: name patterns of axes to leave alone.
        only: name patterns of the axes to cut; None for all.
        exact: by axis name, how much of it to keep: a share (float) or a number of units (int).
        depth: whether residual branches may be left out as a whole where that pays more than narrower axes
            do; stand-ins take the place of modules that only the branch called. `obs` counts what a branch
            gives; with criteria that only rank the units of one axis, mind the result.
        schedule: `pj.Iterative(rounds=4)` to cut a little and recover a little, in rounds; None for a single
            cut, or for the usual rounds where the budget is a floor alone.
        seed: of everything random.
        threads: of the device, where it is given by name.
        source: where the model comes from, for the run's recipe.
        directory: of the run: everything is written there as it goes. Where the same job was begun there and
            stopped, by whatever, it goes on; where it is finished, its result is read back. None for a
            temporary folder that goes with the result.
        log: told of epochs and stages as they come: `pj.TensorBoard(...)`, `pj.MLflow()`, or a `Watch` of
            your own; several in a list.

    Returns:
        The smaller network. Where the budget is met already, it is the same network: nothing is changed.

    Raises:
        PenjingError: whatever stands in the way; the model is as it was. Without `directory` nothing is left
            behind.
        KeyboardInterrupt: Ctrl-C or SIGTERM; likewise.
    """
    if not isinstance(model, nn.Module):
        raise refused_source(model)
    steps = (recover,) if isinstance(recover, Step) else () if recover is None else recover
    checked_kind("budget", budget, Budget, str, tries=['budget="latency=0.5x"'])
    checked_kind("device", device, Device, str, tries=['device="cpu"'])
    checked_kind("criterion", criterion, Criterion, str, type(None), tries=['criterion="taylor"'])
    checked_kind("data", data, Iterable, Synthetic, type(None), tries=["data=[batch, ...]"])
    checked_kind("schedule", schedule, Iterative, type(None), tries=["schedule=pj.Iterative(rounds=4)"])
    checked_kind("seed", seed, int, tries=["seed=0"])
    checked_kind("recover", steps, list, tuple, tries=["recover=[pj.BatchNorm()]"])
    for step in steps:
        checked_kind("recover", step, Step, tries=["recover=pj.FineTune(epochs=3, train=loader)"])
    logs = (log,) if isinstance(log, Watch) else () if log is None else log
    checked_kind("log", logs, list, tuple, tries=['log=[pj.TensorBoard("runs/log")]'])
    for each in logs:
        checked_kind("log", each, Watch, tries=['log=[pj.TensorBoard("runs/log")]'])
    checked_choice("aggregate", aggregate, get_args(Aggregate))
    checked_choice("normalise", normalise, get_args(Normalise))
    made_up = f", on {data}" if isinstance(data, Synthetic) else ""
    data = data.batches(model, example_inputs) if isinstance(data, Synthetic) else _repeatable(data)
    chosen, why = criterion_named(criterion, data, seed)
    why += made_up
    outcome = run(
        Job(
            model=model,
            example_inputs=example_inputs,
            budget=Budget.parse(budget) if isinstance(budget, str) else budget,
            device=device_named(device, threads),
            criterion=chosen,
            aggregate=aggregate,
            normalise=normalise,
            why=why,
            data=data,
            loss=loss,
            evaluate=evaluate,
            recover=tuple(steps),
            keep=_patterns(keep) or [],
            only=_patterns(only),
            exact=dict(exact or {}),
            depth=depth,
            seed=seed,
            source=source or type(model).__name__,
            log=tuple(logs),
            schedule=schedule,
        ),
        None if directory is None else Path(directory),
    )
    return Result(outcome.model, outcome.plan, outcome.report, outcome.proof, outcome)


def _repeatable(data: Iterable[Any] | None) -> Iterable[Any] | None:
    """Data that can be read more than once: by the criterion, and by steps of recovery."""
    return list(data) if isinstance(data, Iterator) else data


def _patterns(given: Sequence[str] | None) -> Sequence[str] | None:
    if isinstance(given, str):
        raise PenjingError(
            "PJ105", f"a list of patterns is needed, not the text `{given}`", tries=[f'["{given}"]']
        )
    return given
