"""New values of remembered sizes: from demands on expressions of them, and in modules as users write them."""

from __future__ import annotations

import operator
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from penjing.network import Network
from penjing.surgery.adapt import Demand, solve
from penjing.surgery.tracked import Leaf, Node, evaluate
from tests.surgery.shrink import own, seeded, shrink, those
from tests.surgery.test_watch import Attention, Computed, X

# -- demands on expressions ----------------------------------------------------------------------------------


def leaf(name: str, value: int) -> Leaf:
    return Leaf(("attribute", "", name), value)


DIM, HEADS, WIDTH = leaf("dim", 32), leaf("heads", 4), leaf("head_dim", 8)


def found(
    *demands: Demand, known: dict[Any, int] | None = None, **options: Any
) -> tuple[dict[str, int], int]:
    """New values by attribute, and how many demands fail."""
    values, failed = solve(list(demands), known or {}, **options)
    return {origin[-1]: value for origin, value in values.items()}, len(failed)


def test_solve_gives_an_attribute_the_value_demanded_of_it() -> None:
    assert found(Demand(HEADS, 2, "view"), Demand(WIDTH, 8, "view")) == ({"heads": 2, "head_dim": 8}, 0)


def test_solve_finds_what_is_left_open_in_a_product_whatever_the_order() -> None:
    product = Demand(Node(operator.mul, HEADS, WIDTH), 12, "reshape")
    heads = Demand(HEADS, 2, "view")
    expected = {"heads": 2, "head_dim": 6}, 0
    assert found(product, heads) == expected
    assert found(heads, product) == expected


def test_solve_finds_the_divisor_of_a_known_shape() -> None:
    shape = Leaf(("shape", "linear_1", "linear", "0", "2"), 32)
    width = Demand(Node(operator.floordiv, shape, HEADS), 8, "view")
    assert found(width, known={shape.origin: 16}) == ({"heads": 2}, 0)


def test_solve_keeps_an_old_value_that_serves() -> None:
    """24 // 5 is 4, and so is 24 // 6: nothing asks for another number of heads."""
    five = leaf("heads", 5)
    demand = Demand(Node(operator.floordiv, DIM, five), 4, "view")
    assert found(Demand(DIM, 24, "split"), demand) == ({"dim": 24, "heads": 5}, 0)


def test_solve_finds_a_dividend_without_a_rest() -> None:
    half = Demand(Node(operator.floordiv, DIM, 2), 9, "unflatten")
    assert found(half) == ({"dim": 18}, 0)


def test_solve_hears_demands_that_leave_a_choice_last() -> None:
    """0 * head_dim is 0 whatever the width, and 9 // heads is 4 for one value only."""
    nothing = Demand(Node(operator.mul, 0, WIDTH), 0, "slice")
    assert found(nothing, Demand(Node(operator.mul, 3, WIDTH), 9, "slice")) == ({"head_dim": 3}, 0)
    assert found(nothing) == ({"head_dim": 8}, 0)


def test_solve_reports_demands_that_contradict_each_other() -> None:
    values, failed = found(Demand(WIDTH, 8, "view"), Demand(WIDTH, 4, "view_1"))
    assert values == {"head_dim": 8}
    assert failed == 1


def test_solve_reports_a_demand_that_no_value_meets() -> None:
    doubled = Demand(Node(operator.mul, HEADS, 2), 7, "view")
    assert found(doubled) == ({}, 1)


def test_solve_leaves_open_what_nothing_decides_unless_it_is_to_settle() -> None:
    product = Demand(Node(operator.mul, HEADS, WIDTH), 16, "reshape")
    assert found(product) == ({}, 0)
    values, failed = found(product, settle=True)
    assert failed == 0
    assert values["heads"] * values["head_dim"] == 16
    assert values["heads"] == 4 or values["head_dim"] == 8


@given(st.data())
def test_solve_meets_demands_that_some_values_meet(data: st.DataObject) -> None:
    """Sizes are drawn, then cut; demands are what expressions of the cut sizes are."""
    old = {name: data.draw(st.integers(2, 24)) for name in "abc"}
    leaves = {name: leaf(name, value) for name, value in old.items()}
    new = {leaves[name].origin: data.draw(st.integers(1, value)) for name, value in old.items()}
    order = data.draw(st.permutations("abc"))
    demands = [Demand(leaves[order[0]], new[leaves[order[0]].origin], "view")]
    for known, name in pairwise(order):
        expression = Node(operator.mul, leaves[known], leaves[name])
        demands.append(Demand(expression, evaluate(expression, new) or 0, "reshape"))
    values, failed = solve(data.draw(st.permutations(demands)), {})
    assert values == new
    assert not failed


# -- modules -------------------------------------------------------------------------------------------------


def test_heads_and_their_width_are_adapted_to_a_cut_of_heads() -> None:
    shrunk = shrink(seeded(Attention), X, those(lambda axis: axis.name == "qkv:1"))
    model = own(shrunk)
    assert (model.num_heads, model.head_dim) == (2, 4)
    assert model.scale == Attention().scale
    (correction,) = shrunk.cut.record["corrections"][""]  # `reshape(b, n, c)` with the input's own width
    assert correction["place"]["text"].endswith(".reshape(b, n, c)")
    assert (model.qkv.out_features, model.proj.in_features) == (24, 8)


def test_composite_expressions_are_adapted() -> None:
    """`C // self.n_head` with C read off a tensor, and `split(self.n_embd)`, which cannot be C any more."""
    model = own(shrink(seeded(Computed), X, those(lambda axis: axis.name == "c_attn:heads")))
    assert model.n_head == 2
    assert (model.c_attn.out_features, model.c_proj.in_features) == (24, 8)


class Grouped(nn.Module):
    """Sizes in a tuple, a list, a product, and a check of its own, as in many vision models."""

    def __init__(self, channels: int = 12, groups: int = 4) -> None:
        super().__init__()
        self.groups, self.per_group = groups, channels // groups
        self.shape = (groups, channels // groups)
        self.sizes = [channels // 2, channels // 2]
        self.stem = nn.Conv2d(3, channels, 1)
        self.mix = nn.Conv2d(channels, channels, 3, padding=1, groups=groups)
        self.norm = nn.GroupNorm(groups, channels)
        self.head = nn.Linear(channels, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.mix(self.stem(x)))
        n, c, h, w = x.shape
        if c != self.groups * self.per_group:
            raise ValueError(f"expected {self.groups * self.per_group} channels, not {c}")
        x = x.view(n, *self.shape, h, w).transpose(1, 2).reshape(n, -1, h, w)
        one, other = x.split(self.sizes, dim=1)
        return self.head(torch.cat([other, one], 1).mean((2, 3)))


def test_tuples_lists_products_and_checks_are_adapted() -> None:
    model = own(shrink(seeded(Grouped), torch.randn(2, 3, 5, 5)))
    channels = model.mix.out_channels
    assert channels < 12
    assert model.mix.groups == model.norm.num_groups == model.groups == model.shape[0]
    assert model.per_group == model.shape[1]
    assert model.groups * model.per_group == channels
    assert type(model.shape) is tuple
    assert type(model.sizes) is list
    assert sum(model.sizes) == channels


class HeadByHead(nn.Module):
    """A loop over heads, each a slice of one fused projection."""

    def __init__(self, dim: int = 16, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.width = heads, dim // heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        qkv, inner, found = self.qkv(x), self.heads * self.width, []
        for head in range(self.heads):
            a, b = head * self.width, (head + 1) * self.width
            q, k, v = qkv[..., a:b], qkv[..., inner + a : inner + b], qkv[..., 2 * inner + a : 2 * inner + b]
            found.append((q @ k.mT / 2).softmax(-1) @ v)
        return self.out(torch.cat(found, -1))


def test_heads_sliced_one_by_one_are_adapted_where_all_lose_alike() -> None:
    shrunk = shrink(seeded(HeadByHead), X)
    model = own(shrunk)
    assert (model.heads, model.width) == (4, 2)
    assert not shrunk.cut.record["corrections"]


def test_attribute_that_every_call_would_need_another_value_of_keeps_its_own() -> None:
    """Heads of different widths: no `width` fits, and another number of `heads` would end the loop early."""

    def unequal(net: Network) -> dict[str, tuple[int, ...]]:
        widths = zip(net.prunable, (3, 3, 1, 4, 2, 1, 2, 1), strict=True)
        return {axis.name: tuple(range(left)) for axis, left in widths}

    model = own(shrink(seeded(HeadByHead), X, unequal))
    assert (model.heads, model.width) == (4, 4)


def test_start_of_a_slice_is_not_taken_for_the_dimension_that_it_means() -> None:
    class Tail(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.left, self.right = nn.Linear(16, 12), nn.Linear(2, 3), nn.Linear(10, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.up(x)
            return self.left(y[:, :, :2]) + self.right(y[:, :, 2:])

    def one(net: Network) -> dict[str, tuple[int, ...]]:
        return {axis.name: tuple(range(1, axis.size)) for axis in net.prunable}

    assert own(shrink(seeded(Tail), X, one)).left.in_features == 1


class Checked(nn.Module):
    """Attention that compares sizes, and has one `width` for keys and values."""

    def __init__(self, dim: int = 16, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.width = heads, dim // heads
        self.q, self.k, self.v = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = (
            layer(x).view(b, n, self.heads, self.width).transpose(1, 2) for layer in (self.q, self.k, self.v)
        )
        y = (q @ k.mT / 2).softmax(-1) @ v
        if y.size() != (b, self.heads, n, self.width):
            raise ValueError("of another size")
        return self.out(y.transpose(1, 2).flatten(2))


def test_what_the_code_compares_comes_before_calls_that_can_be_corrected() -> None:
    def narrower(net: Network) -> dict[str, tuple[int, ...]]:
        return {axis.name: (0,) if axis.name == "q:1" else (0, 1, 3) for axis in net.prunable}

    model = own(shrink(seeded(Checked), X, narrower))
    assert (model.heads, model.width) == (3, 3)
    assert (model.q.out_features, model.v.out_features) == (3, 9)


class Widening(nn.Module):
    """A residual block that projects its input only where its width changes."""

    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.dim, self.out_dim = dim, out
        self.up, self.norm = nn.Linear(dim, out), nn.LayerNorm(dim)
        if dim != out:
            self.proj = nn.Linear(dim, out)

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(self.norm(x)).unflatten(-1, (self.out_dim // 2, 2)).flatten(-2)
        return y + (self.proj(x) if self.dim != self.out_dim else x)


def test_attributes_that_the_code_tells_apart_stay_different() -> None:
    """From 8 to 16 becomes from 4 to 8: `dim`, which no call asks for, may not stay 8."""
    blocks = [nn.Linear(16, 8), Widening(8, 16), Widening(16, 16), nn.Linear(16, 3)]

    def half(net: Network) -> dict[str, tuple[int, ...]]:
        return {axis.name: tuple(range(0, axis.size, 2)) for axis in net.prunable if axis.size > 2}

    model = own(shrink(seeded(lambda: nn.Sequential(*blocks)), X, half))
    assert (model[1].dim, model[1].out_dim) == (4, 8)


def test_layer_norm_over_a_shape_kept_by_the_user_is_adapted() -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(16, 12), nn.Linear(12, 3)
            self.shape = (12,)
            self.width = torch.Size([12])

        def forward(self, x: Tensor) -> Tensor:
            return self.down(F.layer_norm(self.up(x), self.shape) + F.rms_norm(self.up(x), self.width))

    model = own(shrink(seeded(Normed), X))
    assert model.shape == (6,)
    assert model.width == torch.Size([6])
    assert type(model.width) is torch.Size


def test_settings_shared_by_modules_are_given_to_each_that_differs() -> None:
    class Settings:
        def __init__(self, heads: int) -> None:
            self.heads, self.label = heads, "tiny"

    class Block(nn.Module):
        def __init__(self, settings: Settings) -> None:
            super().__init__()
            self.settings = settings
            self.up, self.down = nn.Linear(16, 16), nn.Linear(16, 16)

        def forward(self, x: Tensor) -> Tensor:
            b, n, _ = x.shape
            x = self.up(x).view(b, n, self.settings.heads, -1).softmax(2)
            return self.down(x.flatten(2))

    settings = Settings(4)
    shrunk = shrink(
        seeded(lambda: nn.Sequential(Block(settings), Block(settings))),
        X,
        those(lambda axis: axis.name == "0.up:0"),
    )
    model = own(shrunk)
    assert [block.settings.heads for block in model] == [2, 4]
    assert settings.heads == 4
    assert model[1].settings.label == "tiny"


@pytest.mark.parametrize("affine", [True, False])
def test_multihead_attention_inside_a_module_keeps_its_sizes_true(affine: bool) -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(16, 4, bias=affine, batch_first=True)
            self.norm = nn.LayerNorm(16, elementwise_affine=affine)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(x)
            return x + self.attention(x, x, x, need_weights=False)[0]

    model = own(shrink(seeded(Block), X))
    assert model.attention.in_proj_weight.shape[0] < 48
