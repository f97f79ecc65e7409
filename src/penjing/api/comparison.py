"""`pj.compare_criteria`: several criteria under one budget, on one model."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from torch import nn

from penjing.api.kept import written
from penjing.api.prune import Result, prune
from penjing.api.targets import checked_kind
from penjing.criteria import CRITERIA, Criterion, get, takes_loss
from penjing.devices import Device
from penjing.errors import PenjingError
from penjing.plan import Budget
from penjing.recover import Evaluate, Loss, Step

Recovery = Callable[[int], Step | Sequence[Step] | None]
"""A seed -> the steps of recovery."""

SEEDS = (0, 1, 2)

OPTIONS = frozenset({"keep", "only", "exact", "depth", "aggregate", "normalise", "schedule"})
"""Of `prune`, that a comparison hands on."""


class Contender(BaseModel):
    """One criterion.

    Attributes:
        criterion: its name, with options that are not the default ones.
        metrics: by seed, in order; one alone where nothing depends on the seed.
        mean: of `metrics`; None where it failed.
        spread: their standard deviation; None for a single one.
        achieved: the budget's first quantity, as a share of its limit, by seed.
        seconds: of all its runs together.
        error: what stood in the way; "" for nothing.
    """

    model_config = ConfigDict(frozen=True)

    criterion: str
    metrics: tuple[float, ...] = ()
    mean: float | None = None
    spread: float | None = None
    achieved: tuple[float, ...] = ()
    seconds: float = 0.0
    error: str = ""


class Comparison(BaseModel):
    """Criteria side by side, the best mean first; those that failed come last.

    Attributes:
        model: name of its class.
        budget: as text.
        device: its name.
        seeds: with which every criterion was tried.
        before: the metric of the original.
        contenders: the criteria.
        skipped: criteria that were not tried, and why.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    budget: str
    device: str
    seeds: tuple[int, ...]
    before: float | None
    contenders: tuple[Contender, ...]
    skipped: dict[str, str]

    def save(self, path: Path | str) -> Path:
        """Writes it as JSON; `Comparison.model_validate_json` reads it; PJ602 where it cannot be written."""
        return written(self, path)


def compare_criteria(
    model: nn.Module,
    example_inputs: Any,
    *,
    budget: Budget | str,
    criteria: Sequence[Criterion | str] | None = None,
    seeds: Sequence[int] = SEEDS,
    device: Device | str = "macs",
    data: Iterable[Any] | None = None,
    loss: Loss | None = None,
    evaluate: Evaluate,
    recover: Recovery | None = None,
    told: Callable[[Contender], object] = lambda _: None,
    **options: Any,
) -> Comparison:
    """Prunes a model by one criterion after another, under one budget, and says what metric each comes to.

    Args:
        model: trained; it is not changed.
        example_inputs: as the model is called.
        budget: as for `prune`.
        criteria: names or criteria; None for all that the data allow.
        seeds: every criterion is tried with each of them, in the place of its own `seed` if it has one; with
            one alone where neither it nor any recovery depends on it.
        device: as for `prune`; by default operations are counted, since only widths differ.
        data: calibration batches; a list or a loader, for they are read again and again.
        loss: (outputs, batch) -> scalar.
        evaluate: model -> figure of merit, higher for better.
        recover: seed -> steps; None for none: then accuracy is that of the cut alone.
        told: called with each criterion's figures as they come.
        options: `keep`, `only`, `exact`, `depth`, `aggregate`, `normalise`, `schedule` of `prune`.

    Raises:
        PenjingError: PJ106, no seeds or no `evaluate`; PJ301, no such criterion. What fails for one criterion
            stands in its line.
    """
    checked_kind("evaluate", evaluate, Callable, tries=["evaluate=accuracy"])  # type: ignore[arg-type]
    checked_kind("seeds", seeds, Sequence, tries=["seeds=(0, 1, 2)"])
    checked_kind("criteria", criteria, list, tuple, type(None), tries=['criteria=["magnitude", "taylor"]'])
    if not seeds:
        raise PenjingError("PJ106", "there is no seed to try criteria with", tries=["seeds=(0, 1, 2)"])
    if unknown := options.keys() - OPTIONS:
        raise PenjingError(
            "PJ106", f"there is no option `{min(unknown)}`", tries=[f"`{name}`" for name in sorted(OPTIONS)]
        )
    data = None if data is None else data if hasattr(data, "__len__") else list(data)
    named = _allowed(data, loss) if criteria is None else {one: "" for one in criteria}
    skipped = {str(one): why for one, why in named.items() if why}
    tried = [get(one) for one, why in named.items() if not why]  # before anything is pruned
    before: float | None = None
    rows = []
    for criterion in tried:
        start, found, error = time.perf_counter(), [], ""
        seeded = isinstance(getattr(criterion, "seed", None), int)
        try:
            for seed in seeds if seeded or recover is not None else seeds[:1]:
                result = prune(
                    model,
                    example_inputs,
                    budget=budget,
                    criterion=replace(criterion, seed=seed) if seeded else criterion,  # type: ignore[type-var]
                    device=device,
                    data=data,
                    loss=loss,
                    evaluate=evaluate,
                    recover=None if recover is None else recover(seed),
                    seed=seed,
                    **options,
                )
                before = result.report.before.metric
                found.append(_figures(result))
        except PenjingError as refusal:
            error = f"{refusal.code}: {refusal.what}" + (f" ({refusal.because})" if refusal.because else "")
        rows.append(_row(_label(criterion), found, time.perf_counter() - start, error))
        told(rows[-1])
    rows.sort(key=lambda row: -(row.mean if row.mean is not None else float("-inf")))
    return Comparison(
        model=type(model).__name__,
        budget=str(budget),
        device=device if isinstance(device, str) else device.name,
        seeds=tuple(seeds),
        before=before,
        contenders=tuple(rows),
        skipped=skipped,
    )


def _allowed(data: Iterable[Any] | None, loss: Loss | None) -> dict[Criterion | str, str]:
    """Every criterion of the table, and why it cannot be tried."""
    found: dict[Criterion | str, str] = {}
    for name, make in CRITERIA.items():
        needs = make().record.needs
        if needs and data is None:
            found[name] = "it needs data"
        elif loss is None and any(takes_loss(need) for need in needs):
            found[name] = "it needs a loss"
        else:
            found[name] = ""
    return found


def _figures(result: Result) -> tuple[float, float]:
    """Metric, and the share of its limit that the first bound takes."""
    assert result.report.after.metric is not None
    line = result.report.budget[0]
    return result.report.after.metric, line.achieved / line.limit


def _row(name: str, found: Sequence[tuple[float, float]], seconds: float, error: str) -> Contender:
    metrics = tuple(metric for metric, _ in found)
    return Contender(
        criterion=name,
        metrics=metrics,
        mean=statistics.fmean(metrics) if metrics and not error else None,
        spread=statistics.stdev(metrics) if len(metrics) > 1 and not error else None,
        achieved=tuple(round(used, 4) for _, used in found),
        seconds=round(seconds, 2),
        error=error,
    )


def _label(criterion: Criterion) -> str:
    """Its name, and the options in which it is not the usual one."""
    name = criterion.record.name
    usual = CRITERIA.get(name)
    if usual is None:
        return name
    given = {key: value for key, value in vars(criterion).items() if key != "seed"}  # those are given to all
    changed = [f"{key}={value!r}" for key, value in given.items() if value != getattr(usual(), key, None)]
    return f"{name}({', '.join(changed)})" if changed else name
