"""Statistics: what criteria need from data, collected in one pass for all of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from penjing import processes
from penjing.criteria.activations import DETAILS, Activations, Detail, observe
from penjing.criteria.curvature import Curvature
from penjing.criteria.derivatives import Derivatives, Slope, check_finite, takes_loss
from penjing.criteria.grams import Grams
from penjing.criteria.seen import Seen
from penjing.errors import PenjingError
from penjing.network import Network
from penjing.network.batch import Batch

Need = Slope | Literal["grams", "activations", "correlations", "ranks"]
"""What can be asked of the collector.

`gradients`: the sum over batches of |dL/dw|; `signed_gradients`: of dL/dw; `squared_gradients`: of
(dL/dw)^2. `squared_products`: the sum over batches, for each unit, of the square of w * dL/dw summed over all
its weights. `Curvature(probes, seed)`: the diagonal of the Hessian. `grams`: Gram matrices of what layers
read, without labels. `activations`: how large those of every unit are, and how often zero; `correlations` of
every two units and `ranks` of their maps come with them.
"""

_WITH_LOSS = "gradients of the loss over calibration batches are needed"
_WITHOUT = "calibration batches have to be run through the network"

Loss = Callable[[Any, Any], Any]
"""(outputs, batch) -> a tensor of one element, made of the outputs."""


@dataclass(frozen=True)
class Statistics:
    """What one pass over the data left behind.

    Attributes:
        batches: how many were seen.
        loss: their mean loss; None where none was needed.
        gradients: parameter name (every alias of it) -> sum over batches of |dL/dw|, float64, shaped as the
            parameter. Empty where they were not asked for. A parameter that the loss does not depend on has
            zeros.
        signed_gradients: likewise, of dL/dw.
        saliency: where these were asked for, the sum over all parameters of |w * sum over batches of dL/dw|.
        squared_gradients: likewise, of (dL/dw)^2.
        squared_products: axis name -> for each unit the sum over batches of (sum over all its weights of
            w * dL/dw)^2, float64 [size].
        curvatures: for what was asked, parameter name -> sum over batches of the estimated d2L/dw2.
        grams: collected layer by layer when they are asked for; None where they were not to be.
        activations: of every axis; None where they were not to be.
    """

    batches: int = 0
    loss: float | None = None
    gradients: Mapping[str, Tensor] = field(default_factory=lambda: MappingProxyType({}))
    grams: Grams | None = None
    activations: Activations | None = None
    signed_gradients: Mapping[str, Tensor] = field(default_factory=lambda: MappingProxyType({}))
    saliency: float = 0.0
    squared_gradients: Mapping[str, Tensor] = field(default_factory=lambda: MappingProxyType({}))
    squared_products: Mapping[str, Tensor] = field(default_factory=lambda: MappingProxyType({}))
    curvatures: Mapping[Curvature, Mapping[str, Tensor]] = field(default_factory=lambda: MappingProxyType({}))

    def activations_of(self, axis: str) -> Sequence[Seen]:
        """At every place where the axis is looked at; they have been collected.

        Raises:
            PenjingError: PJ323, it is in no activation, or never anything but zero.
        """
        assert self.activations is not None
        return self.activations.of(axis)

    @property
    def holds(self) -> frozenset[Need]:
        """What was collected."""
        slopes: dict[Need, Mapping[str, Tensor]] = {
            "gradients": self.gradients,
            "signed_gradients": self.signed_gradients,
            "squared_gradients": self.squared_gradients,
            "squared_products": self.squared_products,
        }
        found = {need for need, sums in slopes.items() if sums} | self.curvatures.keys()
        if self.grams is not None:
            found.add("grams")
        if self.activations is not None:
            found |= self.activations.holds
        return frozenset(found)


@processes.together()
def collect(
    net: Network, needs: Collection[Need], *, data: Iterable[Any] | None, loss: Loss | None
) -> Statistics:
    """Passes over `data` once and gathers everything in `needs`.

    Several processes share the batches between them, and all have the sums over all batches afterwards: those
    of one process but for the order in which float64 numbers are added.

    The model runs in eval mode: what is measured is the function that will be shipped (running statistics,
    no dropout). Afterwards it is as it was: modes, `.grad`, `requires_grad`, and buffers too.

    Args:
        net: the network whose model is asked.
        needs: the union of what the criteria need; nothing is touched where it is empty.
        data: batches: `inputs` or `(inputs, targets)`, inputs as the model is called.
        loss: (outputs, batch) -> scalar.

    Raises:
        PenjingError: PJ302, data or a loss is needed and missing; PJ303, a loss or gradient that is not
            finite; PJ304, no batch at all; PJ307, what the loss returns is no scalar that depends on the
            weights; PJ308, there is no second derivative; PJ310, a batch that does not run through the model.
    """
    if not needs:
        return Statistics()
    slopes = [need for need in needs if takes_loss(need)]
    if data is None or (loss is None and slopes):
        wanted = (("data", data), ("loss", loss if slopes else ...))
        missing = " and ".join(name for name, given in wanted if given is None)
        raise PenjingError(
            "PJ302",
            f"cannot collect {', '.join(sorted(map(str, needs)))} without {missing}",
            because=_WITH_LOSS if slopes else _WITHOUT,
            tries=["data=batches, loss=lambda outputs, batch: ...", 'criterion="magnitude" needs neither'],
        )
    if isinstance(data, Tensor):
        raise PenjingError(
            "PJ302",
            f"data is one tensor {tuple(data.shape)}, not batches",
            tries=["data=[tensor]", "data=a DataLoader, or any other iterable of batches"],
        )
    details: set[Detail] = set(DETAILS.intersection(needs))
    passes = bool(details) + ("grams" in needs) + bool(slopes)
    data = list(data) if passes > 1 else data  # a generator gives its batches once
    grams = Grams(net, data) if "grams" in needs else None
    activations = observe(net, data, details) if details else None
    if not slopes or loss is None:
        return Statistics(grams=grams, activations=activations)
    model = net.model
    names = _parameters(model)
    with _as_it_was(model), torch.enable_grad():
        for parameter in names:
            parameter.requires_grad_(True)
        sums = Derivatives(net, names, needs)
        total, count = 0.0, 0
        for number, given in processes.mine(data):
            with sums.forward():
                value = _loss_of(model, Batch.read(model, given, number), loss)
            sums.add(value, number)
            total, count = total + float(value.detach()), count + 1
        seen = torch.tensor([total, count], dtype=torch.float64)
        processes.sum_([seen, *sums.tensors])
        total, count = float(seen[0]), int(seen[1])
    if not count:
        raise PenjingError("PJ304", "data holds no batch", tries=["a generator can be read only once"])
    return Statistics(count, total / count, grams=grams, activations=activations, **sums.found())


def _parameters(model: nn.Module) -> dict[nn.Parameter, list[str]]:
    """Every parameter that can have a gradient, once, with all its names."""
    found: dict[nn.Parameter, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if parameter.is_floating_point() or parameter.is_complex():
            found.setdefault(parameter, []).append(name)
    return found


def _loss_of(model: nn.Module, batch: Batch, loss: Loss) -> Tensor:
    value = loss(batch.run(model), batch.given)
    if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
        seen = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        detached = isinstance(value, Tensor) and value.numel() == 1
        raise PenjingError(
            "PJ307",
            "the loss returns no scalar that depends on the weights",
            because="its value is detached from the outputs" if detached else f"it returned {seen}",
            tries=["return one number made of the outputs: functional.cross_entropy(outputs, batch[1])"],
        )
    check_finite(value, "the loss", batch.number)
    return value.reshape(())


@contextmanager
def _as_it_was(model: nn.Module) -> Iterator[None]:
    """Eval mode inside; afterwards modes, gradient flags and buffers are what they were."""
    modes = [(module, module.training) for module in model.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        with torch.no_grad():
            for module, name, buffer, value in buffers:
                if not torch.equal(buffer, value):
                    buffer.copy_(value)
                module._buffers[name] = buffer
