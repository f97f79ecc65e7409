"""Finds the corrections that a cut module needs: a run in which each call is held to its graph node."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from penjing.network import Network
from penjing.surgery.adapt import HEADS, heads_left, new_numbers
from penjing.surgery.correct import Correction
from penjing.surgery.literals import Path, numbers, replaced
from penjing.surgery.selection import Selection
from penjing.surgery.watch import CallCounter, Sighting, Watch, is_shape, nodes_by_call

_SPLITS = ("split", "chunk", "tensor_split", "split_with_sizes", "unsafe_chunk", "unsafe_split")


class _Enforcer(CallCounter):
    """Corrects each call on the way, and notes what it had to correct."""

    def __init__(self, net: Network, selection: Selection, seen: Watch) -> None:
        super().__init__()
        self._net, self._selection = net, selection
        self._seen = {(one.place, one.module, one.turn): one for one in seen.sightings}
        self._nodes = nodes_by_call(net)
        self.corrections: dict[str, dict[Any, Correction]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if is_shape(func):
            return func(*args, **kwargs)
        place, path, turn = self.locate(func)
        before = self._seen.get((place, path, turn))
        correction = self._needed(func, before, args, kwargs) if before else None
        if correction is None:
            return func(*args, **kwargs)
        correction = Correction(place, correction.numbers, correction.named, correction.pieces)
        known = self.corrections.setdefault(path, {}).setdefault(place, correction)
        if known != correction:
            raise ValueError(f"`{place.text}` would need different corrections on different calls")
        return correction.call(func, args, kwargs)

    def _needed(self, func: Any, before: Sighting, args: Any, kwargs: Any) -> Correction | None:
        nodes = self._nodes.get(before.key, [])
        if func is F.multi_head_attention_forward:
            return self._attention(before, nodes, args, kwargs)
        wanted = new_numbers(self._net, self._selection, before, nodes)
        now = dict(numbers((args, kwargs)))
        wrong: list[tuple[Path, Any]] = [
            (path, wanted[path])
            for path, number in now.items()
            if path in wanted and wanted[path] != number and number != -1
        ]
        if _reads_to_the_end(func, args, wrong):
            wrong = []
        named: list[tuple[str, Any]] = []
        for node in nodes:
            op = self._net.solution.ops.get(node)
            if op is None or not any(self._selection.touches(dim) for dims in op.inputs() for dim in dims):
                continue
            given = {name for name in op.pinned if kwargs.get(name) is not None}
            if (
                func is F.scaled_dot_product_attention
                and _default_scale(*args, **kwargs) in op.pinned.values()
            ):
                given.add("scale")
            named += [(name, value) for name, value in op.pinned.items() if name not in given]
            if op.pieces is not None and func.__name__ in _SPLITS:
                pieces = tuple(self._selection.size(piece) for piece in op.pieces[1])
                if pieces != tuple(self._pieces_of(func, args, kwargs)):
                    return Correction(before.place, pieces=pieces)
                return None
        return Correction(before.place, tuple(wrong), tuple(named)) if wrong or named else None

    def _pieces_of(self, func: Any, args: Any, kwargs: Any) -> list[int]:
        """How the call would cut as it is."""
        dim = kwargs.get("dim", args[2] if len(args) > 2 else 0)
        return [piece.shape[dim] for piece in func(*args, **kwargs)]

    def _attention(self, before: Sighting, nodes: list[fx.Node], args: Any, kwargs: Any) -> Correction | None:
        """PyTorch's own attention serves as long as only whole heads are gone and the widths still agree."""
        query, packed, out = args[0], args[5], args[11]
        scale = _original_scale(self._net, nodes)
        kept = heads_left(self._net, self._selection, nodes, int(before.numbers[HEADS]))
        inner = out.shape[1]
        told = (((HEADS, kept)),) if int(args[4]) != kept else ()
        if (
            kept * round(scale**-2) == inner == query.shape[-1]
            and packed is not None
            and packed.shape[0] == 3 * inner
        ):
            return Correction(before.place, told) if told else None
        return Correction(before.place, told, (("scale", scale),))


def _reads_to_the_end(func: Any, args: Any, wrong: list[tuple[Path, Any]]) -> bool:
    """Whether only ends of slices are wrong, and those lie behind the last index: Python does not mind."""
    if func is not torch.Tensor.__getitem__ or not all(path[-1] == "stop" for path, _ in wrong):
        return False
    corrected = replaced((args, {}), dict(wrong))[0]
    return bool(func(*args).shape == func(*corrected).shape)


def _default_scale(query: torch.Tensor, *_: Any, **others: Any) -> float:
    """What `F.scaled_dot_product_attention` takes where it is told no scale."""
    return float(query.shape[-1] ** -0.5)


def find_corrections(
    net: Network, selection: Selection, seen: Watch, model: nn.Module
) -> dict[str, list[Correction]]:
    """Corrections by module path, found on one run of `model` (already cut, its attributes changed).

    Raises:
        Exception: whatever the user's code raises where correcting calls is not enough.
    """
    was_training = [(module, module.training) for module in model.modules()]
    enforcer = _Enforcer(net, selection, seen)
    try:
        model.eval()
        with enforcer.around(model):
            net.call.map(_copy).run(model)
    finally:
        for module, flag in was_training:
            module.training = flag
    return {path: list(found.values()) for path, found in enforcer.corrections.items()}


def _copy(leaf: Any) -> Any:
    return leaf.clone() if isinstance(leaf, torch.Tensor) else leaf


def _original_scale(net: Network, nodes: list[fx.Node]) -> float:
    for node in nodes:
        op = net.solution.ops.get(node)
        if op is not None and "scale" in op.pinned:
            return float(op.pinned["scale"])
        if node.target is torch.ops.aten.mul.Tensor and isinstance(node.args[1], float):
            return float(node.args[1])
    raise ValueError("the scale of an attention was not found in its graph")
