"""`pj.sensitivity`: the metric against the share that goes of each axis alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from torch import nn

from penjing import criteria
from penjing.api.kept import written
from penjing.api.targets import checked_kind, criterion_named
from penjing.criteria import Criterion
from penjing.errors import PenjingError
from penjing.network import trace
from penjing.plan import Plan
from penjing.recover import Evaluate, Loss, measured
from penjing.surgery import cut

FRACTIONS = (0.1, 0.25, 0.5, 0.75, 0.9)


class Curve(BaseModel):
    """One axis.

    Attributes:
        axis: its name.
        size: its units.
        kept: how many were left, by fraction.
        metrics: of the network in which nothing else is cut, by fraction.
        macs: its operations as a share of the original's, by fraction.
    """

    model_config = ConfigDict(frozen=True)

    axis: str
    size: int
    kept: tuple[int, ...]
    metrics: tuple[float, ...]
    macs: tuple[float, ...]


class Sensitivity(BaseModel):
    """Every axis that was tried.

    Attributes:
        model: name of its class.
        criterion: by which units were ranked.
        before: the metric of the original.
        fractions: of the units of an axis that go, the least valuable first.
        curves: the axes, in the order of the network.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    criterion: str
    before: float
    fractions: tuple[float, ...]
    curves: tuple[Curve, ...]

    def exact(self, *, drop: float) -> dict[str, int]:
        """How many units each axis has to keep so that the metric falls by at most `drop` for it alone.

        For `pj.prune(..., exact=...)`. All of them together cost more than each alone.

        Args:
            drop: in units of the metric, 0 or more.

        Raises:
            PenjingError: PJ106, less than that.
        """
        if not drop >= 0:
            raise PenjingError("PJ106", f"a metric falls by 0 or more, not by {drop}", tries=["drop=0.01"])
        found = {}
        for curve in self.curves:
            found[curve.axis] = curve.size
            for kept, metric in sorted(zip(curve.kept, curve.metrics, strict=True), reverse=True):
                if not metric >= self.before - drop:
                    break  # what holds further on, by chance, is not to be relied on
                found[curve.axis] = kept
        return found

    def save(self, path: Path | str) -> Path:
        """Writes it as JSON; `Sensitivity.model_validate_json` reads it; PJ602 where it cannot be written."""
        return written(self, path)

    def plot(self, path: Path | str) -> Path:
        """Draws every curve into a file: `.png`, `.svg` or `.pdf`, by its name.

        Raises:
            PenjingError: PJ333, matplotlib is not installed; PJ602, no such form, or it cannot be written.
        """
        try:
            from matplotlib.figure import Figure  # optional, and slow to load
        except ImportError as error:
            raise PenjingError(
                "PJ333", "there is nothing to draw with", because=str(error), tries=["pip install matplotlib"]
            ) from error
        figure = Figure(figsize=(8, 5), layout="constrained")
        axes = figure.subplots()
        for curve in self.curves:
            axes.plot([0.0, *self.fractions], [self.before, *curve.metrics], marker=".", label=curve.axis)
        axes.set_xlabel("share of the units that goes")
        axes.set_ylabel("metric")
        axes.set_title(f"{self.model}: each axis alone, by {self.criterion}")
        if len(self.curves) <= 20:
            axes.legend(fontsize="x-small")
        path = Path(path)
        try:
            figure.savefig(path)
        except (ValueError, OSError) as error:
            raise PenjingError("PJ602", f"`{path}` cannot be drawn", because=str(error)) from error
        return path


def sensitivity(
    model: nn.Module,
    example_inputs: Any,
    *,
    evaluate: Evaluate,
    fractions: Sequence[float] = FRACTIONS,
    criterion: Criterion | str | None = None,
    data: Iterable[Any] | None = None,
    loss: Loss | None = None,
    keep: Sequence[str] | None = None,
    only: Sequence[str] | None = None,
    told: Callable[[Curve], object] = lambda _: None,
) -> Sensitivity:
    """Cuts each axis alone, by several shares, and says what metric is left; nothing is recovered.

    Args:
        model: trained; it is not changed.
        example_inputs: as the model is called.
        evaluate: model -> figure of merit, higher for better.
        fractions: of the units that go, between 0 and 1; at least one unit stays.
        criterion: as for `prune`.
        data: calibration batches, where the criterion needs any.
        loss: likewise.
        keep: name patterns of axes to leave out; None for none.
        only: name patterns of axes to try; None for all.
        told: called with the figures of each axis as they come.

    Raises:
        PenjingError: PJ106, a fraction that is none, or no axis to try; PJ302, data that the criterion needs;
            PJ315, `evaluate` fails.
    """
    checked_kind("evaluate", evaluate, Callable, tries=["evaluate=accuracy"])  # type: ignore[arg-type]
    for name, given in (("keep", keep), ("only", only), ("fractions", fractions)):
        checked_kind(name, given, list, tuple, type(None), tries=[f"{name}=[...]"])
    for fraction in fractions:
        checked_kind("fractions", fraction, int, float, tries=[f"fractions={FRACTIONS}"])
    if not fractions or not all(0 < fraction < 1 for fraction in fractions):
        what = f"fractions={tuple(fractions)}: shares between 0 and 1 are needed"
        raise PenjingError("PJ106", what, tries=[f"fractions={FRACTIONS}"])
    net = trace(model, example_inputs)
    data = list(data) if data is not None and not hasattr(data, "__len__") else data
    chosen, _ = criterion_named(criterion, data, 0)
    collected = criteria.collect(net, chosen.record.needs, data=data, loss=loss)
    scores = criteria.score(net, chosen, collected)
    tried = [
        axis
        for axis in net.prunable
        if axis.size > 1
        and not any(fnmatchcase(axis.name, pattern) for pattern in keep or ())
        and (only is None or any(fnmatchcase(axis.name, pattern) for pattern in only))
    ]
    if not tried:
        raise PenjingError(
            "PJ106", "there is no axis to try", tries=["other patterns: `penjing inspect` lists the axes"]
        )
    together = {name: group for group in net.balanced for name in group}
    before, curves = measured(evaluate, model), []
    for axis in tried:
        order = scores[axis.name].argsort(descending=True, stable=True).tolist()
        kept, metrics, macs = [], [], []
        for fraction in fractions:
            left = max(1, math.ceil(axis.size * (1 - fraction) - 1e-9))
            units = {axis.name: tuple(sorted(order[:left]))}
            for other in together.get(axis.name, ()):  # the model's own code makes them equally long
                best = scores[other].argsort(descending=True, stable=True).tolist()
                units.setdefault(other, tuple(sorted(best[:left])))
            small = cut(net, Plan(kept=units)).model
            kept.append(left)
            metrics.append(measured(evaluate, small))
            macs.append(net.macs_at({name: len(own) for name, own in units.items()}) / max(1, net.macs))
        curve = Curve(
            axis=axis.name,
            size=axis.size,
            kept=tuple(kept),
            metrics=tuple(metrics),
            macs=tuple(round(m, 4) for m in macs),
        )
        curves.append(curve)
        told(curve)
    return Sensitivity(
        model=type(model).__name__,
        criterion=chosen.record.name,
        before=before,
        fractions=tuple(fractions),
        curves=tuple(curves),
    )
