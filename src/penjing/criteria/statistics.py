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
from penjing.criteria.activations import DETAILS, Activations, Activity, Detail, observe
from penjing.criteria.grams import Grams
from penjing.errors import PenjingError
from penjing.network import Network
from penjing.network.batch import Batch

Need = Literal["gradients", "grams", "activations", "correlations", "ranks"]
"""What can be asked of the collector.

`gradients`: the sum over batches of |dL/dw|. `grams`: Gram matrices of what layers read, without labels.
`activations`: how large those of every unit are, and how often zero; `correlations` of every two units and
`ranks` of their maps come with them.
"""

_BECAUSE: Mapping[Need, str] = MappingProxyType(
    {
        "gradients": "gradients of the loss over calibration batches are needed",
        "grams": "calibration batches have to be run through the network",
        "activations": "calibration batches have to be run through the network",
        "correlations": "calibration batches have to be run through the network",
        "ranks": "calibration batches have to be run through the network",
    }
)

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
        grams: collected layer by layer when they are asked for; None where they were not to be.
        activations: of every axis; None where they were not to be.
    """

    batches: int = 0
    loss: float | None = None
    gradients: Mapping[str, Tensor] = field(default_factory=lambda: MappingProxyType({}))
    grams: Grams | None = None
    activations: Activations | None = None

    def activations_of(self, axis: str) -> Sequence[Activity]:
        """At every place where the axis is looked at; they have been collected.

        Raises:
            PenjingError: PJ323, it is in no activation, or never anything but zero.
        """
        assert self.activations is not None
        return self.activations.of(axis)

    @property
    def holds(self) -> frozenset[Need]:
        """What was collected."""
        found: set[Need] = set()
        if self.gradients:
            found.add("gradients")
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
            weights; PJ310, a batch that does not run through the model.
    """
    if not needs:
        return Statistics()
    if data is None or (loss is None and "gradients" in needs):
        wanted = (("data", data), ("loss", loss if "gradients" in needs else ...))
        missing = " and ".join(name for name, given in wanted if given is None)
        raise PenjingError(
            "PJ302",
            f"cannot collect {', '.join(sorted(needs))} without {missing}",
            because=_BECAUSE["gradients" if "gradients" in needs else min(needs)],
            tries=["data=batches, loss=lambda outputs, batch: ...", 'criterion="magnitude" needs neither'],
        )
    if isinstance(data, Tensor):
        raise PenjingError(
            "PJ302",
            f"data is one tensor {tuple(data.shape)}, not batches",
            tries=["data=[tensor]", "data=a DataLoader, or any other iterable of batches"],
        )
    details: set[Detail] = set(DETAILS.intersection(needs))
    passes = bool(details) + ("grams" in needs) + ("gradients" in needs)
    data = list(data) if passes > 1 else data  # a generator gives its batches once
    grams = Grams(net, data) if "grams" in needs else None
    activations = observe(net, data, details) if details else None
    if "gradients" not in needs or loss is None:
        return Statistics(grams=grams, activations=activations)
    model = net.model
    names = _parameters(model)
    with _as_it_was(model), torch.enable_grad():
        parameters = list(names)
        for parameter in parameters:
            parameter.requires_grad_(True)
        sums = [torch.zeros_like(parameter, dtype=torch.float64) for parameter in parameters]
        total, count = 0.0, 0
        for number, given in processes.mine(data):
            value = _loss_of(model, Batch.read(model, given, number), loss)
            gradients = torch.autograd.grad(value, parameters, allow_unused=True)
            for place, gradient in enumerate(gradients):
                if gradient is not None:
                    _check_finite(gradient, f"the gradient of `{names[parameters[place]][0]}`", number)
                    sums[place] += gradient.detach().abs()
            total, count = total + float(value.detach()), count + 1
        seen = torch.tensor([total, count], dtype=torch.float64)
        processes.sum_([seen, *sums])
        total, count = float(seen[0]), int(seen[1])
    if not count:
        raise PenjingError("PJ304", "data holds no batch", tries=["a generator can be read only once"])
    found = {name: sums[place] for place, p in enumerate(parameters) for name in names[p]}
    return Statistics(count, total / count, MappingProxyType(found), grams, activations)


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
    _check_finite(value, "the loss", batch.number)
    return value.reshape(())


def _check_finite(tensor: Tensor, what: str, number: int) -> None:
    if not bool(tensor.isfinite().all()):
        raise PenjingError(
            "PJ303",
            f"{what} is not finite on batch {number}",
            because="scores made of it would rank nothing",
            tries=["look at that batch and its targets", "leave it out of data"],
        )


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
