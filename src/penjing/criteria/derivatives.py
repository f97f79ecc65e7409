"""Sums over batches of what derivatives of the loss say: only what is asked for, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from penjing.criteria.curvature import Curvature, diagonals
from penjing.criteria.slices import over_slices
from penjing.errors import PenjingError
from penjing.network import Network

Slope = Literal["gradients", "signed_gradients", "squared_gradients", "squared_products"] | Curvature
"""What takes data and a loss."""

_EACH: Mapping[Slope, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "gradients": lambda gradient: gradient.abs(),
        "signed_gradients": lambda gradient: gradient,
        "squared_gradients": lambda gradient: _wide(gradient.abs()).square(),  # half precision overflows
    }
)
"""What is summed of the gradient of every weight."""


def takes_loss(need: object) -> bool:
    """Whether it is a `Slope`."""
    return isinstance(need, Curvature) or need == "squared_products" or need in _EACH


def product(weight: Tensor, gradient: Tensor) -> Tensor:
    """W * dL/dw of every element, float64: by how much the loss grows with it, in proportion."""
    if weight.is_complex():
        return (weight.detach().to(torch.complex128).conj() * gradient).real
    return weight.detach().to(torch.float64) * gradient


class Derivatives:
    """The sums, in float64; one tensor for every parameter and kind."""

    def __init__(
        self, net: Network, names: Mapping[nn.Parameter, Sequence[str]], needs: Collection[object]
    ) -> None:
        """Nothing is summed yet.

        Args:
            net: the network.
            names: every parameter that can have a gradient, with all its names.
            needs: what is not a `Slope` is passed over.
        """
        self._net, self._names, self._parameters = net, names, list(names)
        self._each = {need: self._zeros(need) for need in _EACH if need in needs}
        asked = sorted((need for need in needs if isinstance(need, Curvature)), key=str)
        self._curvatures = {need: self._zeros(need) for need in asked}
        joint = net.prunable if "squared_products" in needs else ()
        self._joint = {axis.name: torch.zeros(axis.size, dtype=torch.float64) for axis in joint}

    def _zeros(self, need: Slope) -> list[Tensor]:
        signed = need == "signed_gradients"
        return [
            torch.zeros_like(one, dtype=torch.complex128 if signed and one.is_complex() else torch.float64)
            for one in self._parameters
        ]

    def forward(self) -> AbstractContextManager[Any]:
        """What the model has to run in: fused attention has no second derivative."""
        return sdpa_kernel(SDPBackend.MATH) if self._curvatures else nullcontext()

    def add(self, value: Tensor, number: int) -> None:
        """One batch.

        Args:
            value: its loss.
            number: its place in the data.

        Raises:
            PenjingError: PJ303, a derivative is not finite; PJ308, there is no second one.
        """
        gradients = torch.autograd.grad(
            value, self._parameters, allow_unused=True, create_graph=bool(self._curvatures)
        )
        for place, gradient in enumerate(gradients):
            if gradient is not None:
                check_finite(gradient, f"the gradient of `{self._name(place)}`", number)
                for need, sums in self._each.items():
                    sums[place] += _EACH[need](gradient.detach())
        if self._joint:
            self._add_joint(gradients)
        for asked, sums in self._curvatures.items():
            for probe in diagonals(gradients, self._parameters, asked, number=number):
                for place, one in enumerate(probe):
                    if one is not None:
                        check_finite(one, f"the curvature of `{self._name(place)}`", number)
                        sums[place] += one.to(torch.float64) / asked.probes

    def _name(self, place: int) -> str:
        return self._names[self._parameters[place]][0]

    def _add_joint(self, gradients: Sequence[Tensor | None]) -> None:
        known = {
            name: gradient
            for parameter, gradient in zip(self._parameters, gradients, strict=True)
            for name in self._names[parameter]
        }

        def products(name: str, weight: Tensor) -> Tensor:
            gradient = known.get(name)
            return torch.zeros(weight.shape) if gradient is None else product(weight, gradient.detach())

        for axis, total in over_slices(self._net, products, how="sum").items():
            self._joint[axis] += total.square()

    @property
    def tensors(self) -> list[Tensor]:
        """All sums, to be added up over processes in place."""
        flat = [one for sums in (*self._each.values(), *self._curvatures.values()) for one in sums]
        return [torch.view_as_real(one) if one.is_complex() else one for one in flat] + [
            *self._joint.values()
        ]

    def found(self) -> dict[str, Any]:
        """The sums as fields of `Statistics`."""
        found: dict[str, Any] = {str(need): self._by_name(sums) for need, sums in self._each.items()}
        if self._joint:
            found["squared_products"] = MappingProxyType(self._joint)
        if self._curvatures:
            named = {need: self._by_name(sums) for need, sums in self._curvatures.items()}
            found["curvatures"] = MappingProxyType(named)
        if "signed_gradients" in self._each:
            pairs = zip(self._parameters, self._each["signed_gradients"], strict=True)
            found["saliency"] = sum(float(product(one, total).abs().sum()) for one, total in pairs)
        return found

    def _by_name(self, sums: Sequence[Tensor]) -> Mapping[str, Tensor]:
        pairs = zip(self._parameters, sums, strict=True)
        return MappingProxyType({name: total for one, total in pairs for name in self._names[one]})


def check_finite(tensor: Tensor, what: str, number: int) -> None:
    """Refuses what would rank nothing.

    Raises:
        PenjingError: PJ303, it is not finite.
    """
    if not bool(tensor.isfinite().all()):
        raise PenjingError(
            "PJ303",
            f"{what} is not finite on batch {number}",
            because="scores made of it would rank nothing",
            tries=["look at that batch and its targets", "leave it out of data"],
        )


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float64)
