"""Devices that are not at hand: estimated operator by operator from a sheet (the roofline model)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Final

import numpy as np

from penjing.devices.estimating import Estimating
from penjing.devices.fusion import folded
from penjing.devices.measurement import Figure, Provenance, Unit
from penjing.devices.sheet import ELEMENT_BYTES, Sheet, read_sheet
from penjing.devices.stairs import Stairs, ceil_to
from penjing.devices.terms import VIEWS, is_depthwise, kind, padded_channels
from penjing.network import Network, Operator, TensorRef

Shape = tuple[int, ...]

SHEETS: Final = Path(__file__).parent / "sheets"


@dataclass(frozen=True)
class Work:
    """What one operator does at some widths.

    Attributes:
        macs: multiply-accumulates, over padded channels; like the other two one number, or an array of them.
        activations: bytes of activations that are read and written.
        weights: bytes of parameters that are read.
        depthwise: whether it is a depthwise convolution.
    """

    macs: Any
    activations: Any
    weights: Any
    depthwise: bool = False


@dataclass(frozen=True)
class Roofline(Estimating):
    """A device that is described by a sheet.

    An operator takes as long as its multiplications or its memory traffic take, whichever is longer, and an
    overhead (Williams et al. 2009, doi:10.1145/1498765.1498785). Operators that runtimes fold into another
    cost nothing of their own.

    Attributes:
        sheet: what is known of it.
        path: of the sheet's file; None for those that come along.
    """

    sheet: Sheet
    path: Path | None = None
    quantity: ClassVar[str] = "latency"
    provenance: ClassVar[Provenance] = "analytic"

    @classmethod
    def read(cls, path: Path) -> Roofline:
        """From a sheet's file.

        Raises:
            PenjingError: PJ410, it is none.
        """
        return cls(read_sheet(path), path)

    @property
    def name(self) -> str:  # type: ignore[override]
        """The sheet's."""
        return self.sheet.name

    @property
    def summary(self) -> str:  # type: ignore[override]
        """The sheet's."""
        return self.sheet.summary

    @property
    def error(self) -> float:
        """The sheet's."""
        return self.sheet.error

    @property
    def clock_hz(self) -> float | None:
        """The sheet's, where it tells."""
        mhz = self.sheet.compute.clock_mhz
        return None if mhz is None else mhz * 1e6

    @property
    def spec(self) -> str:
        """The sheet's path, or the name of one that comes along."""
        return self.name if self.path is None else str(self.path)

    @property
    def stairs(self) -> Stairs:
        """The multiples that it pads to."""
        return Stairs(**self.sheet.align.model_dump())

    @property
    def content(self) -> str:
        """The sheet."""
        return self.sheet.model_dump_json(exclude_defaults=True)

    def estimate(self, net: Network) -> Estimate:
        """What networks cut from `net` will take."""
        return Estimate(self.sheet, net)

    def record(self) -> dict[str, Any]:
        """The whole sheet, so that a report says what its figures rest on."""
        figures = self.sheet.model_dump(mode="json", exclude={"name"}, exclude_none=True)
        return {
            "name": self.name,
            "runtime": "penjing, by a sheet",
            "threads": 1,
            "provenance": self.provenance,
            **figures,
        }


class Estimate:
    """Latency and energy of one network at any widths, by a sheet: `Prices`.

    Attributes:
        quantities: what it tells: `latency` in ms, and `energy` in mJ where the sheet tells of it.
        band: relative half-width of the band around every figure.
    """

    vectorised: bool = True

    def __init__(self, sheet: Sheet, net: Network) -> None:
        """Nothing is computed yet."""
        self._sheet, self._net = sheet, net
        self._stairs = Stairs(**sheet.align.model_dump())
        self._folded = folded(net.operators)
        self._held: dict[str, frozenset[str]] = {}
        self.quantities: tuple[str, ...] = ("latency",) if sheet.energy is None else ("latency", "energy")
        self.band = sheet.error

    def total(self, quantity: str, counts: Mapping[str, int]) -> float:
        """Of the whole network when each axis in `counts` keeps that many units."""
        parts = (float(self.operator(quantity, operator, counts)) for operator in self._net.operators)
        return float(self.constant(quantity)) + sum(parts)

    def figures(self, counts: Mapping[str, int]) -> dict[str, float]:
        """Every quantity of the whole network."""
        return {quantity: self.total(quantity, counts) for quantity in self.quantities}

    def figure(self, quantity: str, counts: Mapping[str, int]) -> Figure:
        """The same of one, with its provenance and its band."""
        value, unit = self.total(quantity, counts), _UNITS[quantity]
        return Figure(quantity, value, unit, "analytic", self.band)

    def constant(self, quantity: str) -> float:
        """What a call costs before any operator runs."""
        call_ms = self._sheet.overhead.call_us / 1e3
        return call_ms if quantity == "latency" else self._static(call_ms)

    def operator(self, quantity: str, operator: Operator, counts: Mapping[str, Any]) -> Any:
        """One operator's part; all of them and the constant add up to `total`.

        Widths may be arrays, all of one shape, wherever the operator's multiplications are a polynomial of
        them; then so is the part.
        """
        runs = operator.runs_at(counts)
        if not self.alone(operator) or runs is False:
            return 0.0
        return runs * self._priced(quantity, self.work(operator, counts))

    def _priced(self, quantity: str, work: Work) -> Any:
        ms = self._ms(work)
        if quantity == "latency":
            return ms
        energy, (far, near) = self._sheet.energy, self._traffic(work)
        assert energy is not None
        moved = far * energy.pj_per_byte + near * energy.pj_per_cache_byte
        return (work.macs * energy.pj_per_mac + moved) * 1e-9 + self._static(ms)

    def alone(self, operator: Operator) -> bool:
        """Whether the operator costs something of its own."""
        return operator.name not in self._folded and kind(operator) not in VIEWS

    def work(self, operator: Operator, counts: Mapping[str, Any]) -> Work:
        """What an operator does."""
        inputs, outputs = operator.inputs_at(counts), operator.outputs_at(counts)
        size = ELEMENT_BYTES[self._sheet.precision]
        held = self._parameters(operator, inputs)
        weights = sum(math.prod(shape) for name, shape in inputs.items() if name in held)
        others = sum(math.prod(shape) for name, shape in inputs.items() if name not in held)
        made = sum(math.prod(shape) for shape in outputs)
        macs, depthwise = self._macs(operator, inputs, outputs, counts)
        return Work(macs, size * (others + made), size * weights, depthwise)

    def _macs(
        self,
        operator: Operator,
        inputs: Mapping[str, Shape],
        outputs: tuple[Shape, ...],
        counts: Mapping[str, Any],
    ) -> tuple[Any, bool]:
        """Over padded channels, and whether it is a depthwise convolution."""
        plain = operator.macs_at(counts)
        if kind(operator) in ("conv1d", "conv2d", "conv3d"):
            outs, ins = inputs["weight"][:2]
            groups = int(operator.arguments.get("groups") or 1)
            wide, deep = padded_channels(outs, ins, groups, self._stairs)
            return plain * (wide * deep) / np.maximum(1, outs * ins), is_depthwise(ins, groups)
        if kind(operator) in ("linear", "addmm", "mm"):
            outs = outputs[0][-1]
            return plain * ceil_to(outs, self._stairs.linear_out) / np.maximum(1, outs), False
        return plain, False

    def _parameters(self, operator: Operator, inputs: Mapping[str, Shape]) -> frozenset[str]:
        """Names of the tensor arguments that are parameters."""
        if operator.name not in self._held:
            self._held[operator.name] = frozenset(name for name in inputs if _is_parameter(operator, name))
        return self._held[operator.name]

    def _ms(self, work: Work) -> Any:
        compute, memory = self._sheet.compute, self._sheet.memory
        share = compute.efficiency
        if work.depthwise and compute.depthwise_efficiency is not None:
            share = compute.depthwise_efficiency
        far, near = self._traffic(work)
        moving = far / (memory.gb_per_s * 1e6) + near / ((memory.cache_gb_per_s or memory.gb_per_s) * 1e6)
        computing = work.macs / (compute.gmacs_per_s * share * 1e6)
        return np.maximum(computing, moving) + self._sheet.overhead.operator_us / 1e3

    def _traffic(self, work: Work) -> tuple[Any, Any]:
        """Bytes to and from main memory, and to and from the cache: what fits it stays there."""
        room = self._sheet.memory.cache_kb * 1e3
        near = work.activations * (work.activations <= room) + work.weights * (self._resident <= room)
        return work.activations + work.weights - near, near

    @cached_property
    def _resident(self) -> float:
        """Bytes of all weights of the original, which stay in a cache that holds them from call to call."""
        return float(ELEMENT_BYTES[self._sheet.precision] * self._net.parameters_at({}))

    def _static(self, ms: Any) -> Any:
        """Millijoules that time alone costs."""
        return 0.0 if self._sheet.energy is None else self._sheet.energy.static_w * ms


def _is_parameter(operator: Operator, name: str) -> bool:
    """Whether a tensor argument, or an entry of a list of them, is a parameter."""
    outer, _, place = name.partition("[")
    value = operator.arguments.get(outer)
    if place and isinstance(value, list):
        value = value[int(place.removesuffix("]"))]
    return isinstance(value, TensorRef) and value.parameter


_UNITS: Final[Mapping[str, Unit]] = MappingProxyType({"latency": "ms", "energy": "mJ"})
