"""What a plan keeps, read for every tensor and every operator of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import fx

from penjing.axes import Dim, indices, leaves, size_at
from penjing.network import Network
from penjing.network.arguments import rebind
from penjing.network.op import Dims, Op


class Selection:
    """Kept units by atom, and their consequences.

    Args:
        net: the network.
        kept: axis name -> kept units, sorted; axes not named keep all.
        dropped: names of residual branches that are left out.

    Attributes:
        atoms: atom -> kept units.
        counts: atom -> how many.
        passed: name of an operator that joins a dropped branch -> name of what it then passes on.
        unread: names of parameters that only dropped branches read.
        left_out: names of operators that only dropped branches need.
    """

    def __init__(self, net: Network, kept: Mapping[str, Sequence[int]], dropped: Sequence[str] = ()) -> None:
        """Keeps what differs from everything."""
        branches = [net.branch(name) for name in dropped]
        self.passed = {branch.joins: branch.skips for branch in branches}
        self.unread = {name for branch in branches for name in branch.parameters}
        self.left_out = {name for branch in branches for name in branch.operators}
        self._space = net.solution.space
        whole = {axis.name: axis.size for axis in net.axes}
        cut = {name: units for name, units in kept.items() if len(units) != whole.get(name)}
        self.atoms: dict[Dim, Sequence[int]] = net.atoms_kept(cut)
        self.counts: dict[Dim, int] = {atom: len(units) for atom, units in self.atoms.items()}
        self._masks: dict[Dim, bytes] = {}
        self._sizes: dict[Dim, int] = {}

    def size(self, dim: Dim) -> int:
        """How many indices of `dim` stay."""
        return size_at(self._space, dim, self.counts, self._sizes)

    def touches(self, dim: Dim) -> bool:
        """Whether any index of `dim` goes."""
        return any(atom in self.atoms for atom in leaves(self._space, dim))

    def kept(self, dim: Dim) -> list[int] | None:
        """The indices of `dim` that stay, or None for all of them."""
        return indices(self._space, dim, self.atoms, self._masks) if self.touches(dim) else None

    def kept_of(self, dims: Dims) -> dict[int, list[int]]:
        """Place -> indices that stay, for the dimensions that lose some."""
        found = {place: self.kept(dim) for place, dim in enumerate(dims)}
        return {place: indices for place, indices in found.items() if indices is not None}

    def arguments(self, op: Op) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        """Target, arguments and named arguments of `op` after the cut, stated sizes as they must be then."""
        changed: dict[str, Any] = {}
        loses = any(self.touches(dim) for dims in op.inputs() for dim in dims)
        for name, stated in op.sizes.items():
            now = op.arguments[name]
            if isinstance(stated, list):
                sizes = [
                    old if dim is None else self._resized(dim, old, loses)
                    for dim, old in zip(stated, _listed(now), strict=True)
                ]
                changed[name] = sizes if isinstance(now, list | tuple) else sizes[0]
            elif stated is not None:
                changed[name] = self._resized(stated, now, loses)
        source = next((argument for argument in op.node.args if isinstance(argument, fx.Node)), None)
        if loses:
            changed.update(op.pinned)
            if op.restated is not None:
                target, others = op.restated
                return target, (source, *others), {}
        if op.pieces is not None and any(self.touches(piece) for piece in op.pieces[1]):
            place, pieces = op.pieces
            return (
                torch.ops.aten.split_with_sizes.default,
                (source, [self.size(p) for p in pieces], place),
                {},
            )
        changed = {name: value for name, value in changed.items() if value != op.arguments[name]}
        return (
            (op.node.target, *rebind(op.node, changed))
            if changed
            else (op.node.target, op.node.args, op.node.kwargs)
        )

    def clash(self, op: Op) -> tuple[Dim, Dim] | None:
        """Two dimensions that `op` must tell apart by their sizes, and that come to be of one size."""
        return next((pair for pair in op.apart if self.size(pair[0]) == self.size(pair[1])), None)

    def _resized(self, dim: Dim, old: Any, loses: bool) -> Any:
        """What is not the size now, but stands for it (counted from the end, or around), is made it."""
        if isinstance(old, fx.Node):  # read off a tensor while the graph runs
            return old
        return self.size(dim) if self.touches(dim) or (loses and old != self._space.size(dim)) else old


def take(tensor: torch.Tensor, kept: Mapping[int, Sequence[int]]) -> torch.Tensor:
    """`tensor` with only the kept indices along each dimension named."""
    for place, indices_ in kept.items():
        tensor = tensor.index_select(place, torch.as_tensor(indices_, dtype=torch.long, device=tensor.device))
    return tensor


def put(tensor: torch.Tensor, kept: Mapping[int, Sequence[int]], shape: Sequence[int]) -> torch.Tensor:
    """The inverse of `take`, with zeros where indices are gone."""
    if not kept:
        return tensor
    full = tensor.new_zeros(tuple(shape))
    where = tuple(
        torch.as_tensor(kept.get(place, range(size)), dtype=torch.long, device=tensor.device)
        for place, size in enumerate(shape)
    )
    full[torch.meshgrid(*where, indexing="ij")] = tensor
    return full


def blank(tensor: torch.Tensor, kept: Mapping[int, Sequence[int]]) -> torch.Tensor:
    """`tensor` with zeros at the indices that are gone, whatever stood there."""
    for place, indices_ in kept.items():
        gone = torch.ones(tensor.shape[place], dtype=torch.bool, device=tensor.device)
        gone[torch.as_tensor(indices_, dtype=torch.long, device=tensor.device)] = False
        shape = [1] * tensor.ndim
        shape[place] = -1
        tensor = tensor.masked_fill(gone.view(shape), 0)
    return tensor


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
