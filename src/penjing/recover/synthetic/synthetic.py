"""Calibration inputs that are made up where there are no data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from penjing.errors import PenjingError
from penjing.network import Call
from penjing.network.untouched import untouched
from penjing.recover.synthetic.matching import matched
from penjing.recover.synthetic.patterns import coloured_noise, fractals


@dataclass(frozen=True)
class Synthetic:
    """Stands for data where there are none: `pj.prune(..., data=pj.Synthetic())`.

    Floating-point inputs of three dimensions or more, [samples, channels, *space], are noise with the
    spectrum of natural images; half of pictures are fractals. Others are Gaussian. All have the mean and
    spread of the example inputs, and are then moved until batch norms see the statistics that training left
    in them. Whole numbers are drawn evenly: below the size of the embedding that reads them, or else between
    the smallest and largest of the example inputs. Everything else is as in the example inputs. Real data are
    better, and a few dozen samples of them are enough.

    Attributes:
        samples: how many.
        batch: of how many at a time.
        steps: of matching to batch norms; 0 for none.
        seed: of everything random.
    """

    samples: int = 256
    batch: int = 64
    steps: int = 40
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks ranges.

        Raises:
            PenjingError: PJ313, an option out of range.
        """
        for name, least in (("samples", 1), ("batch", 1), ("steps", 0)):
            if getattr(self, name) < least:
                raise PenjingError("PJ313", f"Synthetic({name}={getattr(self, name)}) is less than {least}")

    def batches(self, model: nn.Module, example_inputs: Any) -> list[Any]:
        """Batches of data; the same for the same model, inputs and seed. The model stays as it was.

        Args:
            model: what they are made for.
            example_inputs: as in `pj.trace`.

        Raises:
            PenjingError: PJ101, the example inputs do not fit.
        """
        call = Call.of(model, example_inputs)
        generator = torch.Generator().manual_seed(self.seed)
        with untouched(model):
            bounds = _bounds(model, call)
            size = _batch_size(model, call, min(self.batch, self.samples))
            return [
                _as_data(self._matched(model, _made(call, bounds, size, generator)))
                for _ in range(-(-self.samples // (size or _samples(call))))
            ]

    def _matched(self, model: nn.Module, call: Call) -> Call:
        leaves, structure = pytree.tree_flatten((call.args, call.kwargs))
        places = [n for n, leaf in enumerate(leaves) if _is_real(leaf) and leaf.ndim > 1]

        def filled(tensors: Sequence[Tensor]) -> Call:
            full = list(leaves)
            for place, tensor in zip(places, tensors, strict=True):
                full[place] = tensor
            return Call(*pytree.tree_unflatten(full, structure))

        tensors = [leaves[place] for place in places]
        return filled(matched(model, tensors, lambda moved: filled(moved).run(model), self.steps))

    def __str__(self) -> str:
        """For reports."""
        return f"{self.samples} synthetic inputs, for want of data"


def _as_data(call: Call) -> Any:
    """Inputs in a form that cannot be taken for inputs and targets."""
    if call.kwargs:
        return call.kwargs
    return call.args[0] if len(call.args) == 1 else (call.args, None)


def _is_real(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()


def _samples(call: Call) -> int:
    sizes = [leaf.shape[0] for leaf in pytree.arg_tree_leaves(*call.args, **call.kwargs) if _has_rows(leaf)]
    return max(1, sizes[0]) if sizes else 1


def _has_rows(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.ndim > 0


def _bounds(model: nn.Module, call: Call) -> dict[int, int]:
    """By the identity of an input tensor, the size of the smallest embedding that reads it."""
    found: dict[int, int] = {}

    def note(module: nn.Module, args: tuple[Any, ...]) -> None:
        assert isinstance(module, nn.Embedding)
        for leaf in pytree.arg_tree_leaves(*call.args, **call.kwargs):
            if isinstance(leaf, Tensor) and args and leaf.data_ptr() == args[0].data_ptr():
                found[id(leaf)] = min(found.get(id(leaf), module.num_embeddings), module.num_embeddings)

    handles = [m.register_forward_pre_hook(note) for m in model.modules() if isinstance(m, nn.Embedding)]
    try:
        with torch.no_grad():
            call.run(model)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _batch_size(model: nn.Module, call: Call, wanted: int) -> int | None:
    """As many samples as are wanted, if the model takes another number than in its example; None if not."""
    leaves = [leaf for leaf in pytree.arg_tree_leaves(*call.args, **call.kwargs) if isinstance(leaf, Tensor)]
    if not leaves or len({leaf.shape[:1] for leaf in leaves}) > 1 or not leaves[0].ndim:
        return None
    try:
        with torch.no_grad():
            call.map(lambda leaf: _repeated(leaf, wanted)).run(model)
    except Exception:  # the model is the user's, and may raise anything where it is made for one size
        return None
    return wanted


def _repeated(leaf: Any, size: int | None) -> Any:
    if size is None or not isinstance(leaf, Tensor) or not leaf.ndim:
        return leaf
    return leaf[torch.arange(size) % leaf.shape[0]]


def _made(call: Call, bounds: dict[int, int], size: int | None, generator: torch.Generator) -> Call:
    return call.map(lambda leaf: _drawn(leaf, bounds.get(id(leaf)), size, generator))


def _drawn(leaf: Any, bound: int | None, size: int | None, generator: torch.Generator) -> Any:
    if not isinstance(leaf, Tensor) or leaf.dtype == torch.bool or leaf.is_complex() or not leaf.numel():
        return _repeated(leaf, size)
    shape = list(_repeated(leaf, size).shape)
    if leaf.is_floating_point():
        return _real(leaf, shape, generator)
    low, high = (0, bound) if bound else (int(leaf.min()), int(leaf.max()) + 1)
    if high - low < 2:
        return _repeated(leaf, size)
    return torch.randint(low, high, shape, generator=generator).to(leaf)


def _real(leaf: Tensor, shape: list[int], generator: torch.Generator) -> Tensor:
    known = leaf.double()[leaf.isfinite()]
    spread = float(known.std()) if known.numel() > 1 else 0.0
    mean = float(known.mean()) if spread else 0.0
    found = _pattern(shape, generator)
    return (found * (spread or 1.0) + mean).to(leaf)


def _pattern(shape: list[int], generator: torch.Generator) -> Tensor:
    """Mean 0, variance 1."""
    if len(shape) < 3:
        return torch.randn(shape, generator=generator)
    samples, channels, *space = shape
    found = coloured_noise(samples, channels, space, generator)
    if len(space) == 2 and min(space) > 3:
        found[1::2] = fractals(len(found[1::2]), channels, space, generator) if samples > 1 else found[1::2]
    return found
