"""The proof: a cut model equals the masked original, in float64, on the example inputs and on random ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from penjing.errors import PenjingError
from penjing.network import Call, Network
from penjing.network.copied import copied
from penjing.network.outputs import flatten
from penjing.surgery.copies import WIDER, wide, widened
from penjing.surgery.grouped import grouped_mm
from penjing.surgery.masked import run_masked
from penjing.surgery.selection import Selection

TOLERANCE = 1e-10
"""Largest difference allowed, relative to the largest element of the outputs, in float64."""

_RANDOM = """
    rand rand_like randn randn_like randint randint_like random_ normal normal_ uniform_ bernoulli bernoulli_
    cauchy_ exponential_ geometric_ log_normal_ multinomial poisson binomial
"""
_CONSTANT = (torch.tensor, torch.as_tensor, torch.scalar_tensor)


@dataclass(frozen=True)
class Proof:
    """What a cut was checked against.

    Attributes:
        max_error: largest absolute difference over the largest absolute output.
        tolerance: what is allowed.
        dtype: of the check.
        passed: whether `max_error` is within `tolerance`.
        runs: on how many inputs it was checked.
    """

    max_error: float
    tolerance: float
    dtype: str
    passed: bool
    runs: int


class Exact(TorchDispatchMode):
    """Makes code that asks for a narrower type, or for random numbers, compute in float64 and repeatably."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Widens requested types; random numbers become one fixed number, whatever their shape."""
        args, kwargs = pytree.tree_map(_widen, (args, kwargs or {}))
        if func is torch.ops.aten._grouped_mm.default and args[0].dtype is torch.float64:
            return grouped_mm(*args, **kwargs)
        if "fake_quantize" in func._schema.name:
            args = (args[0], *map(_scale, args[1:]))
        result = func(*args, **kwargs)
        name = func._schema.name.removeprefix("aten::")
        if name in _RANDOM.split() and isinstance(result, torch.Tensor):
            return result.fill_(0.3)
        if name == "randperm":
            return result.sort().values
        return result


class _AsTraced(TorchFunctionMode):
    """Lets constants that the user's code makes have the digits that they have in the trace: float32 ones."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.new_tensor and args[0].is_floating_point():
            kwargs = {"dtype": self._dtype, **(kwargs or {})}
        elif func not in _CONSTANT:
            return func(*args, **(kwargs or {}))
        torch.set_default_dtype(self._dtype)
        try:
            made = func(*args, **(kwargs or {}))
        finally:
            torch.set_default_dtype(torch.float64)
        return wide(made)


@contextmanager
def exact() -> Iterator[None]:
    """Everything inside computes in float64, deterministic, without gradients."""
    before = torch.get_default_dtype()
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.set_default_dtype(torch.float64)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), Exact(), _AsTraced(before):  # type: ignore[no-untyped-call]
            yield
    finally:
        torch.set_default_dtype(before)
        torch.backends.mha.set_fastpath_enabled(fast_path)


class Reference:
    """Outputs of the masked original, computed once for all candidates of one cut."""

    def __init__(self, net: Network, selection: Selection, seed: int = 0) -> None:
        """Runs the masked original on every check input.

        Raises:
            PenjingError: PJ204, its outputs are not finite on the example inputs, or it does not run.
        """
        self._calls: list[Call] = []
        self._outputs: list[list[Any]] = []
        with exact():
            for number, call in enumerate(_inputs(net.call, seed)):
                try:
                    outputs = run_masked(net, selection, call)
                except (ArithmeticError, LookupError, RuntimeError, ValueError) as error:
                    if number:
                        continue  # not every network runs on random numbers: some stand for indices
                    raise PenjingError(
                        "PJ204",
                        "the masked original does not run on the example inputs in float64",
                        because=f"{type(error).__name__}: {error}",
                        tries=["leave out what runs in narrower types only: trace the model without it"],
                    ) from error
                if _is_finite(outputs):
                    self._calls.append(call)
                    self._outputs.append(outputs)
                elif number == 0:
                    raise PenjingError(
                        "PJ204",
                        "the masked original gives outputs that are not finite on the example inputs",
                        because="a cut cannot be compared with NaN or infinity",
                        tries=[
                            "give example inputs on which the model works",
                            "keep more units: the variance over a single one is no number",
                        ],
                    )

    def check(self, model: nn.Module) -> Proof:
        """Compares `model` (any dtype; a float64 copy is run) with the masked original."""
        candidate = widened(copied(model)).eval()
        return self.compare(lambda call: flatten(call.run(candidate))[0])

    def compare(self, run: Callable[[Call], list[Any]]) -> Proof:
        """Compares flattened outputs."""
        worst = 0.0
        with exact():
            for call, expected in zip(self._calls, self._outputs, strict=True):
                fresh = call.map(lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf)
                worst = max(worst, _difference(expected, run(fresh)))
        return Proof(worst, TOLERANCE, "float64", worst <= TOLERANCE, len(self._calls))


def _inputs(call: Call, seed: int) -> Iterator[Call]:
    """The example inputs, and twice the same with every real tensor replaced by normal numbers."""
    yield call.map(lambda leaf: wide(leaf) if isinstance(leaf, torch.Tensor) else leaf)
    if not any(_is_continuous(leaf) for leaf in pytree.tree_leaves((call.args, call.kwargs))):
        return
    for number in range(2):
        generator = torch.Generator().manual_seed(seed + number)

        def random(leaf: Any, generator: torch.Generator = generator) -> Any:
            if not _is_continuous(leaf):
                return leaf
            drawn = torch.empty(leaf.shape, dtype=wide(leaf).dtype).normal_(generator=generator)
            return drawn.to(leaf.device)

        with torch.utils._python_dispatch._disable_current_modes():
            drawn = call.map(random)
        yield drawn


def _difference(expected: list[Any], found: list[Any]) -> float:
    """Largest difference of any output, over its own largest value; infinite where structure differs.

    An output that is next to nothing beside the others is all rounding: it is measured against a millionth
    of them.
    """
    kinds = [[isinstance(leaf, torch.Tensor) for leaf in leaves] for leaves in (expected, found)]
    if kinds[0] != kinds[1]:
        return float("inf")
    pairs = [pair for pair, kind in zip(zip(expected, found, strict=True), kinds[0], strict=True) if kind]
    if any(one.shape != other.shape for one, other in pairs):
        return float("inf")
    real = [(_real(one), _real(other)) for one, other in pairs if one.numel()]
    sizes = [float(one.abs().max()) for one, _ in real]
    apart = [float((one - other).abs().nan_to_num(nan=float("inf")).max()) for one, other in real]
    least = 1e-6 * max(sizes, default=0.0)
    shares = (gap / max(size, least) if least else gap for gap, size in zip(apart, sizes, strict=True))
    return max(shares, default=0.0)


def _real(tensor: torch.Tensor) -> torch.Tensor:
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor.double()


def _is_finite(outputs: list[Any]) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in outputs if isinstance(tensor, torch.Tensor))


def _is_continuous(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor) and (leaf.is_floating_point() or leaf.is_complex())


def _scale(leaf: Any) -> Any:
    """A scale of quantisation in float32, the only type that its operators take."""
    return leaf.float() if isinstance(leaf, torch.Tensor) and leaf.dtype is torch.float64 else leaf


def _widen(leaf: Any) -> Any:
    return WIDER.get(leaf, leaf) if isinstance(leaf, torch.dtype) else leaf
