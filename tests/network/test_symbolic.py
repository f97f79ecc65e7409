"""Models whose sizes depend on values: traced as they are, the rest of them free to be cut."""

from __future__ import annotations

import pytest
import torch
from torch import fx, nn

from penjing.network import trace
from penjing.network.symbolic import REASON, settle_sizes
from penjing.plan import Plan
from penjing.surgery import cut
from penjing.surgery.graph import rewrite
from penjing.surgery.proof import Reference
from penjing.surgery.selection import Selection


class _Selecting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 5)


class _Mask(_Selecting):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        picked = self.a(x)[x.sum(1) > 0]
        return self.b(picked.relu()).sum(0)


class _Nonzero(_Selecting):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, i = self.a(x), (x.sum(1) > 0).nonzero().squeeze(-1)
        return self.b(h.index_add(0, i, h[i].tanh()))


class _Reshaped(_Selecting):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        picked = self.a(x)[(x.sum(1) > 0).nonzero()[:, 0]]
        heads = picked.view(picked.shape[0], 2, 4).transpose(1, 2).reshape(-1, 8)
        return self.b(heads).mean(0)


class _Twice(_Selecting):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, positive = self.a(x), x.sum(1) > 0
        both = torch.cat([h[positive], h[~positive]])
        return self.b(both).amax(0)


@pytest.mark.parametrize(
    ("model", "own"), [(_Mask, True), (_Nonzero, True), (_Twice, True), (_Reshaped, False)], ids=str
)
def test_trace_cuts_a_model_whose_sizes_depend_on_values(model: type[nn.Module], own: bool) -> None:
    net = trace(model(), torch.randn(7, 6))
    assert net.trace.specialised is None
    assert net.opaque == ()
    assert sum(axis.size for axis in net.prunable) >= 6
    kept = {axis.name: tuple(range(0, axis.size, 2)) for axis in net.prunable}
    done = cut(net, Plan(kept=kept))
    assert done.fallback is None or not own
    assert done.proof.passed
    selection = Selection(net, kept)
    assert Reference(net, selection).check(rewrite(net, selection)).passed


def test_trace_freezes_what_is_sized_by_value() -> None:
    class Kept(_Selecting):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(8, 6))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rows = self.scale[self.scale.sum(1) > 0]  # all of them, as it happens
            return rows @ x.t()

    net = trace(Kept(), torch.randn(7, 6))
    reasons = {axis.frozen for axis in net.axes if axis.size == 8}
    assert None not in reasons
    assert REASON in net.solution.space.frozen().values()


def test_settle_sizes_keeps_sums_and_products_in_step() -> None:
    net = trace(_Twice(), torch.randn(7, 6))
    sizes = {
        node.name: node.meta["val"].shape
        for node in net.trace.graph.nodes
        if isinstance(node.meta.get("val"), torch.Tensor)
    }
    first, second = (sizes[name][0] for name in ("index", "index_1"))
    assert sizes["cat"][0] == first + second
    assert first != second
    assert all(7 % size and 8 % size and 6 % size for size in (first, second))


def test_settle_sizes_leaves_a_graph_of_whole_sizes_alone() -> None:
    graph = fx.Graph()
    node = graph.placeholder("x")
    value = node.meta["val"] = torch.empty(2, 3)
    settle_sizes(graph)
    assert node.meta == {"val": value}
