"""Residual branches: which are found, and that dropping one is computing without it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from penjing.errors import PenjingError
from penjing.network import trace
from penjing.surgery import cut, redo
from tests.surgery.shrink import Keep, apart, every_other, seeded


class BasicBlock(nn.Module):
    def __init__(self, inplanes: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample: nn.Module | None = None
        if stride != 1 or inplanes != planes:
            self.downsample = nn.Sequential(
                nn.Conv2d(inplanes, planes, 1, stride, bias=False), nn.BatchNorm2d(planes)
            )

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return F.relu(out)


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.layer1 = nn.Sequential(BasicBlock(6, 6), BasicBlock(6, 6))
        self.layer2 = nn.Sequential(BasicBlock(6, 8, 2), BasicBlock(8, 8))
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layer2(self.layer1(self.stem(x).relu())).mean((2, 3)))


class Attention(nn.Module):
    def __init__(self, dim: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class ViTBlock(nn.Module):
    """Pre-norm, with layer scale."""

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.norm1, self.attn, self.ls1 = nn.LayerNorm(dim), Attention(dim), nn.Parameter(torch.ones(dim))
        self.norm2, self.ls2 = nn.LayerNorm(dim), nn.Parameter(torch.ones(dim))
        self.mlp = nn.Sequential(nn.Linear(dim, 16), nn.GELU(), nn.Linear(16, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1 * self.attn(self.norm1(x))
        return x + self.ls2 * self.mlp(self.norm2(x))


class ViT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 8)
        self.pos = nn.Parameter(torch.randn(1, 4, 8))
        self.blocks = nn.Sequential(ViTBlock(), ViTBlock())
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.embed(x) + self.pos)).mean(1))


class BertLayer(nn.Module):
    """Post-norm: what the sum gives is normalised."""

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.attention, self.norm1 = Attention(dim), nn.LayerNorm(dim)
        self.up, self.down, self.norm2 = nn.Linear(dim, 16), nn.Linear(16, dim), nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.down(F.gelu(self.up(x))))


class Bert(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(11, 8), nn.Embedding(6, 8)
        self.layers = nn.ModuleList([BertLayer(), BertLayer()])
        self.head = nn.Linear(8, 11)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids) + self.places(torch.arange(ids.shape[1]))
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


class LlamaLayer(nn.Module):
    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.input_norm, self.self_attn, self.post_norm = nn.RMSNorm(dim), Attention(dim), nn.RMSNorm(dim)
        self.gate, self.up = nn.Linear(dim, 12, bias=False), nn.Linear(dim, 12, bias=False)
        self.down = nn.Linear(12, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        residual = x
        x = residual + self.self_attn(self.input_norm(x))
        residual = x
        x = self.post_norm(x)
        return residual + self.down(F.silu(self.gate(x)) * self.up(x))


class Llama(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.layers, self.norm = nn.Embedding(11, 8), nn.ModuleList(), nn.RMSNorm(8)
        self.layers.extend([LlamaLayer(), LlamaLayer()])
        self.lm_head = nn.Linear(8, 11, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x)
        return self.lm_head(self.norm(x))


IDS = torch.randint(11, (2, 5), generator=torch.Generator().manual_seed(0))
IMAGE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
PATCHES = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))

MODELS: dict[str, tuple[Callable[[], nn.Module], Tensor, dict[str, str]]] = {
    "resnet": (
        ResNet,
        IMAGE,
        {"layer1.0": "layer1.0.bn2", "layer1.1": "layer1.1.bn2", "layer2.1": "layer2.1.bn2"},
    ),
    "vit": (
        ViT,
        PATCHES,
        {
            "blocks.0": "blocks.0.attn",
            "blocks.0~2": "blocks.0.mlp",
            "blocks.1": "blocks.1.attn",
            "blocks.1~2": "blocks.1.mlp",
        },
    ),
    "bert": (
        Bert,
        IDS,
        {
            "layers.0.attention": "layers.0.attention",
            "layers.0": "layers.0.down",
            "layers.1.attention": "layers.1.attention",
            "layers.1": "layers.1.down",
        },
    ),
    "llama": (
        Llama,
        IDS,
        {
            "layers.0": "layers.0.self_attn",
            "layers.0~2": "layers.0.down",
            "layers.1": "layers.1.self_attn",
            "layers.1~2": "layers.1.down",
        },
    ),
}
"""Model, input, and its branches: name -> the module whose output is what the branch adds."""

CASES = [(name, branch) for name, (_, _, branches) in MODELS.items() for branch in branches]


def without(model: nn.Module, ends: list[str], x: Tensor) -> Tensor:
    """What the model computes where the outputs of these modules are zero."""
    handles = [
        model.get_submodule(end).register_forward_hook(lambda module, args, output: torch.zeros_like(output))
        for end in ends
    ]
    try:
        found: Tensor = model(x)
        return found
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("name", MODELS)
def test_branches_are_found_and_nothing_else(name: str) -> None:
    build, x, branches = MODELS[name]
    net = trace(seeded(build), x)
    assert {branch.name for branch in net.branches} == set(branches)
    assert [branch.name for branch in net.branches] == [*branches]


@pytest.mark.parametrize(("name", "branch"), CASES)
def test_dropping_a_branch_is_computing_without_it(name: str, branch: str) -> None:
    build, x, branches = MODELS[name]
    model = seeded(build)
    result = cut(trace(model, x), Keep({}, (branch,)))
    assert result.proof.passed
    assert result.fallback is None
    wanted = without(model, [branches[branch]], x)
    assert apart(model(x), wanted) > 1e-3
    assert apart(result.model.eval()(x), wanted) < 1e-5
    assert result.record["dropped"] == [branch]


@pytest.mark.parametrize("name", MODELS)
def test_every_branch_may_be_dropped_at_once(name: str) -> None:
    build, x, branches = MODELS[name]
    model = seeded(build)
    result = cut(trace(model, x), Keep({}, tuple(branches)))
    assert apart(result.model.eval()(x), without(model, [*branches.values()], x)) < 1e-5


@pytest.mark.parametrize("name", MODELS)
def test_parameters_of_a_dropped_branch_are_gone_and_no_others(name: str) -> None:
    build, x, branches = MODELS[name]
    model = seeded(build)
    net = trace(model, x)
    for branch in net.branches:
        small = cut(net, Keep({}, (branch.name,))).model
        gone = dict(model.named_parameters()).keys() - dict(small.named_parameters()).keys()
        assert gone == {p for p in branch.parameters if p in dict(model.named_parameters())}
        assert gone
        assert not small.state_dict().keys() & set(branch.parameters)
        assert small.state_dict().keys() <= model.state_dict().keys()
        assert any(parameter.startswith(branches[branch.name]) for parameter in gone)


@pytest.mark.parametrize("name", MODELS)
def test_operators_of_a_dropped_branch_are_not_run(name: str) -> None:
    """Also not those with an effect of their own: `relu_`, or attention, which may draw random numbers."""
    build, x, _ = MODELS[name]
    net = trace(seeded(build), x)
    for branch in net.branches:
        found = cut(net, Keep({}, (branch.name,)))
        small = trace(found.model, x)
        gone = set(branch.operators)
        assert small.macs == sum(o.macs_at({}) for o in net.operators if o.name not in gone) < net.macs


def test_branch_that_changes_what_it_branches_off_from_is_none() -> None:
    """Pre-activation with an in-place relu: without it, the sum would read other values."""

    class PreActivation(nn.Module):
        def __init__(self, inplace: bool) -> None:
            super().__init__()
            self.stem, self.norm = nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6)
            self.relu, self.conv = nn.ReLU(inplace), nn.Conv2d(6, 6, 3, padding=1)
            self.drop = nn.Dropout(0.1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(self.stem(x))
            return x + self.conv(self.relu(self.drop(x.contiguous())))

    # torch 2.14 sees that the sum reads what the relu wrote: then the branch is what comes after it.
    found = trace(seeded(lambda: PreActivation(True)), IMAGE).branches
    assert all("relu_" not in branch.operators for branch in found)
    assert [branch.name for branch in trace(seeded(lambda: PreActivation(False)), IMAGE).branches] == [
        "branch"
    ]


@pytest.mark.parametrize("name", MODELS)
def test_branches_are_dropped_together_with_units(name: str) -> None:
    build, x, branches = MODELS[name]
    net = trace(seeded(build), x)
    (branch, *_) = branches
    result = cut(net, Keep(every_other(net), (branch,)))
    assert result.proof.passed
    assert result.proof.max_error < 1e-12
    whole = cut(net, Keep(every_other(net))).model
    assert apart(result.model.eval()(x), without(whole, [branches[branch]], x)) < 1e-5


def test_dropping_a_branch_of_a_recorded_plan_is_made_again() -> None:
    build, x, _ = MODELS["vit"]
    net = trace(seeded(build), x)
    result = cut(net, Keep(every_other(net), ("blocks.0~2",)))
    again = redo(json.loads(json.dumps(result.record)), seeded(build, seed=5), x)
    assert again.state_dict().keys() == result.model.state_dict().keys()
    again.load_state_dict(result.model.state_dict())
    assert torch.equal(again.eval()(x), result.model.eval()(x))


@pytest.mark.parametrize("name", MODELS)
def test_model_without_a_branch_is_of_its_own_class_and_takes_other_shapes(name: str) -> None:
    build, x, branches = MODELS[name]
    model = seeded(build)
    small = cut(trace(model, x), Keep({}, tuple(branches))).model
    assert type(small) is type(model)
    if name == "vit":  # its positions fix the number of patches
        other = x[:1].repeat(3, 1, 1)
    elif name == "resnet":
        other = x[:1, :, :6, :4]
    else:
        other = x[:1, :3]
    assert apart(small.eval()(other), without(model, [*branches.values()], other)) < 1e-5


def test_module_that_others_call_too_is_left() -> None:
    """One activation module for all, and one weight for two layers, of which only one goes."""

    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act, self.one, self.other = nn.GELU(), nn.Linear(6, 6), nn.Linear(6, 6)
            self.last, self.head = nn.Linear(6, 6), nn.Linear(6, 6)
            self.head.weight = self.one.weight

        def forward(self, x: Tensor) -> Tensor:
            x = x + self.last(self.act(self.one(x)))
            return self.act(self.head(x + self.other(self.act(x))))

    model, x = seeded(Shared), torch.randn(2, 6)
    net = trace(model, x)
    first, second = (branch.name for branch in net.branches)
    result = cut(net, Keep({}, (first,)))
    assert result.fallback is None
    assert isinstance(result.model.act, nn.GELU)
    assert result.model.state_dict().keys() >= {"head.weight", "other.weight"}
    assert apart(result.model(x), without(model, ["last"], x)) < 1e-6
    both = cut(net, Keep({}, (first, second))).model
    assert apart(both(x), without(model, ["last", "other"], x)) < 1e-6


def test_graph_stands_in_where_the_code_asks_more_of_a_module_than_to_be_called() -> None:
    class Asking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(6, 12), nn.Linear(12, 6)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.down(self.up(x).relu()) * (1 if self.up.in_features else 2)

    model, x = seeded(Asking), torch.randn(2, 6)
    result = cut(trace(model, x), Keep({}, ("branch",)))
    assert result.fallback is not None
    assert "in_features" in result.fallback
    assert torch.equal(result.model(x), x)


def test_branch_whose_values_are_read_elsewhere_is_none() -> None:
    class Tapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down, self.tap = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Any:
            hidden = self.up(x).relu()
            return x + self.down(hidden), self.tap(hidden)

    assert trace(seeded(Tapped), torch.randn(2, 6)).branches == ()


def test_sums_that_are_no_residuals_are_none() -> None:
    class Sums(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other, self.bias = (
                nn.Linear(6, 6),
                nn.Linear(6, 6),
                nn.Parameter(torch.randn(2, 6)),
            )

        def forward(self, x: Tensor) -> Tensor:
            left, right = self.one(x), self.other(x)
            doubled = torch.add(left, right, alpha=2)
            return doubled + self.bias + doubled.mean(0)

    assert trace(seeded(Sums), torch.randn(2, 6)).branches == ()


def test_branch_inside_a_branch_is_found_beside_it() -> None:
    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.outer, self.inner, self.last = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            y = self.outer(x)
            return x + self.last(y + self.inner(y).relu())

    model, x = seeded(Nested), torch.randn(2, 6)
    net = trace(model, x)
    inner, outer = net.branches
    assert inner.name == "inner"
    assert set(inner.operators) < set(outer.operators)
    dropped = cut(net, Keep({}, (inner.name,))).model
    assert apart(dropped(x), x + model.last(model.outer(x))) < 1e-6
    dropped = cut(net, Keep({}, (inner.name, outer.name))).model
    assert torch.equal(dropped(x), x)


def test_unknown_branch_is_refused_with_the_three_nearest_names() -> None:
    build, x, _ = MODELS["vit"]
    net = trace(seeded(build), x)
    with pytest.raises(PenjingError) as caught:
        cut(net, Keep({}, ("blocks.0~3",)))
    assert caught.value.code == "PJ208"
    assert len(caught.value.tries) == 3
    assert caught.value.tries[0] == "`blocks.0~2`"
