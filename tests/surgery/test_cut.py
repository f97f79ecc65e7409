"""The user's module, cut: what survives, what is refused, and that nothing of the original is touched."""

from __future__ import annotations

import warnings
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from penjing.errors import PenjingError
from penjing.network import trace
from penjing.surgery import GraphNetwork, cut
from tests.surgery.shrink import Keep, apart, every_other, own, seeded, shrink, those


class Net(nn.Module):
    """A convolutional network as in many tutorials."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 6, 3)
        self.fc = nn.Linear(6 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        return self.fc(torch.flatten(self.conv2(x), 1))


X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def zeroed(model: Net, kept1: list[int], kept2: list[int]) -> Net:
    """The original at full size; what is gone is silenced by its own weights: an oracle that cuts nothing."""
    model = deepcopy(model)
    gone1 = [i for i in range(8) if i not in kept1]
    gone2 = [i for i in range(6) if i not in kept2]
    with torch.no_grad():
        model.bn1.weight[gone1] = model.bn1.bias[gone1] = 0
        model.conv2.weight[gone2] = model.conv2.bias[gone2] = 0
    return model


# -- what a plan may ask for -----------------------------------------------------------------------


def test_cut_is_the_original_with_removed_units_silenced() -> None:
    net = trace(seeded(Net), X)
    keep = Keep({"conv1": (0, 3, 4, 7), "conv2": (1, 2)})
    result = cut(net, keep)
    assert result.fallback is None
    assert apart(result.model(X), zeroed(net.model, [0, 3, 4, 7], [1, 2])(X)) < 1e-6
    assert torch.equal(result.model.conv1.weight, net.model.conv1.weight[[0, 3, 4, 7]])
    columns = [channel * 4 + place for channel in (1, 2) for place in range(4)]
    assert torch.equal(result.model.fc.weight, net.model.fc.weight[:, columns])
    assert torch.equal(result.model.bn1.running_var, net.model.bn1.running_var[[0, 3, 4, 7]])


def test_cut_of_nothing_is_the_same_function_bit_for_bit() -> None:
    net = trace(seeded(Net), X)
    for kept in ({}, {axis.name: tuple(range(axis.size)) for axis in net.axes}):
        result = cut(net, Keep(kept))
        assert result.fallback is None
        assert result.model is not net.model
        assert torch.equal(result.model(X), net.model(X))


def test_every_axis_may_be_cut_to_a_single_unit() -> None:
    net = trace(seeded(Net), X)
    model = cut(net, Keep({"conv1": (5,), "conv2": (3,)})).model
    assert apart(model(X), zeroed(net.model, [5], [3])(X)) < 1e-6


def test_cutting_twice_is_cutting_once() -> None:
    first = cut(trace(seeded(Net), X), Keep({"conv1": (0, 2, 3, 5, 7)})).model
    second = cut(trace(first, X), Keep({"conv1": (1, 4)})).model
    once = cut(trace(seeded(Net), X), Keep({"conv1": (2, 7)})).model
    assert torch.equal(second(X), once(X))
    assert second.state_dict().keys() == once.state_dict().keys()


def test_unknown_axis_is_refused_with_the_three_nearest_names() -> None:
    net = trace(seeded(Net), X)
    with pytest.raises(PenjingError) as caught:
        cut(net, Keep({"conv3": (0,)}))
    assert caught.value.code == "PJ201"
    assert "`conv3`" in caught.value.what
    assert len(caught.value.tries) == 3
    assert {"`conv1`", "`conv2`"} < set(caught.value.tries)


@pytest.mark.parametrize("units", [(), (8,), (-1, 0), (2, 1), (1, 1), (0, 99)])
def test_units_that_an_axis_does_not_have_are_refused(units: tuple[int, ...]) -> None:
    with pytest.raises(PenjingError) as caught:
        cut(trace(seeded(Net), X), Keep({"conv1": units}))
    assert caught.value.code == "PJ202"
    assert "`conv1` has 8 units" in caught.value.what


def test_frozen_axis_is_refused_with_its_reason_and_a_way_out() -> None:
    net = trace(seeded(Net), X)
    frozen = net.axis("fc")
    with pytest.raises(PenjingError) as caught:
        cut(net, Keep({"fc": (0, 1)}))
    assert caught.value.code == "PJ203"
    assert caught.value.because == frozen.frozen == "dimension 1 of output of the model"
    assert 'keep=["fc"]' in caught.value.tries[0]
    assert cut(net, Keep({"fc": (0, 1, 2, 3, 4)})).fallback is None


# -- what survives ---------------------------------------------------------------------------------


def test_original_is_left_as_it_was() -> None:
    model = seeded(Net).train()
    model.bn1.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ids = {name: id(value) for name, value in model.named_parameters()}
    shrink(model, X)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert ids == {name: id(value) for name, value in model.named_parameters()}
    assert model.training
    assert not model.bn1.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(p.grad is None for p in model.parameters())


def test_cut_shares_no_tensor_with_the_original() -> None:
    model = seeded(Net)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    small = own(shrink(model, X))
    with torch.no_grad():
        for tensor in [*small.parameters(), *small.buffers()]:
            tensor.zero_()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("training", [True, False])
def test_modes_survive_module_by_module(training: bool) -> None:
    model = seeded(Net).train(training)
    model.bn1.train(not training)
    small = own(shrink(model, X))
    flags = {path: module.training for path, module in small.named_modules()}
    assert flags == {path: module.training for path, module in model.named_modules()}


def test_frozen_parameters_stay_frozen() -> None:
    model = seeded(Net)
    model.conv1.requires_grad_(False)
    small = own(shrink(model, X))
    flags = {name: p.requires_grad for name, p in small.named_parameters()}
    assert flags == {name: p.requires_grad for name, p in model.named_parameters()}


def test_methods_properties_and_attributes_of_the_class_survive() -> None:
    class Rich(Net):
        kind = "rich"

        def __init__(self) -> None:
            super().__init__()
            self.note, self.classes = {"author": "me"}, ["a", "b", "c", "d", "e"]

        @property
        def width(self) -> int:
            return self.conv1.out_channels

        def predict(self, x: Tensor) -> list[str]:
            return [self.classes[int(i)] for i in self(x).argmax(1)]

    small = own(shrink(seeded(Rich), X))
    assert isinstance(small, Net)
    assert (small.kind, small.width, small.note) == ("rich", 4, {"author": "me"})
    assert len(small.predict(X)) == 2


def test_hooks_survive_and_see_the_smaller_tensors() -> None:
    seen: list[tuple[str, torch.Size]] = []

    def before(module: nn.Module, args: Any) -> None:
        seen.append(("before", args[0].shape))

    def after(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        seen.append(("after", output.shape))
        return output * 2

    model = seeded(Net)
    model.bn1.register_forward_pre_hook(before)
    model.conv2.register_forward_hook(after)
    shrunk = shrink(model, X)
    small = own(shrunk)
    seen.clear()
    small(X)
    assert seen == [("before", torch.Size([2, 4, 8, 8])), ("after", torch.Size([2, 3, 2, 2]))]
    del model.conv2._forward_hooks
    model.conv2._forward_hooks = nn.Linear(1, 1)._forward_hooks
    kept2 = list(shrunk.keep.kept["conv2"])
    reference = zeroed(model, list(shrunk.keep.kept["conv1"]), kept2)
    with torch.no_grad():
        reference.conv2.weight *= 2
        reference.conv2.bias *= 2
    assert apart(small(X), reference(X)) < 1e-6


def test_buffers_survive_persistent_or_not() -> None:
    class Buffered(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(6, 8), nn.Linear(8, 2)
            self.register_buffer("scale", torch.rand(8))
            self.register_buffer("shift", torch.rand(1, 8), persistent=False)
            self.register_buffer("empty", None)
            self.register_buffer("unread", torch.rand(8))
            self.plain = torch.rand(8)

        def forward(self, x: Tensor) -> Tensor:
            return self.down(self.up(x) * self.scale + self.shift * self.plain)

    shrunk = shrink(seeded(Buffered), torch.randn(3, 6))
    small, before = own(shrunk), shrunk.net.model
    (kept,) = shrunk.keep.kept.values()
    assert torch.equal(small.scale, before.scale[list(kept)])
    assert torch.equal(small.shift, before.shift[:, list(kept)])
    assert torch.equal(small.plain, before.plain[list(kept)])
    assert torch.equal(small.unread, before.unread)
    assert small.empty is None
    assert small.state_dict().keys() == before.state_dict().keys()
    assert {name for name, _ in small.named_buffers()} == {name for name, _ in before.named_buffers()}


def test_tied_weights_stay_one_parameter() -> None:
    class Language(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.mix, self.head = nn.Embedding(9, 8), nn.Linear(8, 8), nn.Linear(8, 9, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, ids: Tensor) -> Tensor:
            x = self.embed(ids)
            return self.head(x + self.mix(x).relu())

    small = own(shrink(seeded(Language), torch.randint(9, (2, 4))))
    assert small.head.weight is small.embed.weight
    assert small.embed.weight.shape == (9, 4)
    assert len(list(small.parameters())) == 3
    assert small.head.in_features == small.embed.embedding_dim == 4


def test_module_under_two_names_stays_one_module() -> None:
    class Siamese(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))
            self.right = self.left
            self.head = nn.Linear(4, 1)

        def forward(self, one: Tensor, other: Tensor) -> Tensor:
            return self.head((self.left(one) - self.right(other)).abs())

    small = own(shrink(seeded(Siamese), (torch.randn(3, 6), torch.randn(3, 6))))
    assert small.left is small.right
    assert small.left[0].out_features == 4
    assert small.left[2].out_features == 2


def test_module_called_several_times_is_cut_once_for_all() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter, self.step, self.leave = nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.enter(x)
            for _ in range(3):
                x = torch.tanh(self.step(x))
            return self.leave(x)

    shrunk = shrink(seeded(Recurrent), torch.randn(3, 5))
    small = own(shrunk)
    assert small.step.weight.shape == (4, 4)
    (kept,) = shrunk.keep.kept.values()
    assert torch.equal(small.step.weight, shrunk.net.model.step.weight[list(kept)][:, list(kept)])


@pytest.mark.parametrize("layer", ["conv", "linear"])
@pytest.mark.parametrize("kind", ["weight norm", "spectral norm", "orthogonal-free custom"])
def test_parametrized_weights_stay_parametrized(layer: str, kind: str) -> None:
    class Doubled(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return 2 * weight

    def wrap(module: nn.Module) -> nn.Module:
        if kind == "weight norm":
            return parametrizations.weight_norm(module)
        if kind == "spectral norm":
            return parametrizations.spectral_norm(module)
        return torch.nn.utils.parametrize.register_parametrization(module, "weight", Doubled())

    def build() -> nn.Module:
        if layer == "conv":
            return nn.Sequential(wrap(nn.Conv1d(3, 8, 3)), nn.ReLU(), wrap(nn.Conv1d(8, 2, 3)))
        return nn.Sequential(wrap(nn.Linear(7, 8)), nn.ReLU(), wrap(nn.Linear(8, 2)))

    model = seeded(build)
    small = own(shrink(model, torch.randn(2, 3, 7)))
    assert small.state_dict().keys() == model.state_dict().keys()
    assert torch.nn.utils.parametrize.is_parametrized(small[0], "weight")
    assert small[0].weight.shape[0] == small[2].weight.shape[1] == 4
    small.train()(torch.randn(2, 3, 7)).sum().backward()
    assert all(p.grad is not None for p in small.parameters())


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.parametrize("kind", ["weight norm", "spectral norm", "mask"])
def test_weights_that_hooks_compute_are_cut_where_they_come_from(kind: str) -> None:
    """The older style: a forward pre-hook sets a plain tensor, which `deepcopy` refuses."""

    def wrap(module: nn.Module) -> nn.Module:
        if kind == "weight norm":
            return torch.nn.utils.weight_norm(module)
        if kind == "spectral norm":
            return torch.nn.utils.spectral_norm(module)
        found: nn.Module = prune.l1_unstructured(module, "weight", 0.3)
        return found

    model = seeded(lambda: nn.Sequential(wrap(nn.Linear(6, 8)), nn.ReLU(), wrap(nn.Linear(8, 2))))
    x = torch.randn(3, 6)
    model(x)
    with pytest.raises(RuntimeError, match="deepcopy"):
        deepcopy(model)
    small = own(shrink(model, x))
    assert small.state_dict().keys() == model.state_dict().keys()
    assert repr(small[0]) == "Linear(in_features=6, out_features=4, bias=True)"
    assert small(x).shape == (3, 2)
    assert small[0].weight.shape == (4, 6)
    small.train()(x).sum().backward()
    assert all(p.grad is not None for p in small.parameters() if p.requires_grad)


def test_parameter_lists_and_dicts_are_cut() -> None:
    class Listed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mats = nn.ParameterList([torch.randn(6, 8), torch.randn(8, 8)])
            self.named = nn.ParameterDict({"out": torch.randn(8, 2), "bias": torch.randn(2)})

        def forward(self, x: Tensor) -> Tensor:
            for mat in self.mats:
                x = (x @ mat).relu()
            return x @ self.named["out"] + self.named["bias"]

    small = own(shrink(seeded(Listed), torch.randn(3, 6)))
    assert [tuple(p.shape) for p in small.mats] == [(6, 4), (4, 4)]
    assert {name: tuple(p.shape) for name, p in small.named.items()} == {"out": (4, 2), "bias": (2,)}


def test_cut_trains_like_any_module() -> None:
    small = own(shrink(seeded(Net), X)).train()
    optimizer = torch.optim.AdamW(small.parameters(), lr=1e-2)
    first = last = 0.0
    for step in range(8):
        optimizer.zero_grad()
        loss = F.cross_entropy(small(X), torch.tensor([0, 3]))
        loss.backward()
        optimizer.step()
        first, last = (loss.item() if step == 0 else first), loss.item()
    assert last < first


def test_cut_gives_no_warning() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        shrink(seeded(Net), X)
    assert [str(one.message) for one in caught] == []


# -- where the user's code cannot follow -----------------------------------------------------------


class Stubborn(nn.Module):
    """Raises by itself where its width is another one, from a number that is written in its code."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(x).relu()
        if x.shape[-1] < 8:
            raise ValueError("too narrow:\nrefused")
        return self.down(x)


def test_fallback_names_the_line_of_the_users_code_that_cannot_follow() -> None:
    x = torch.randn(3, 6)
    shrunk = shrink(seeded(Stubborn), x)
    assert isinstance(shrunk.model, GraphNetwork)
    assert shrunk.cut.fallback is not None
    assert "test_cut.py:" in shrunk.cut.fallback
    assert "ValueError: too narrow:" in shrunk.cut.fallback
    assert "\n" not in shrunk.cut.fallback
    assert shrunk.cut.proof.passed
    (kept,) = shrunk.keep.kept.values()
    hidden = shrunk.net.model.up(x).relu()[:, list(kept)]
    expected = F.linear(hidden, shrunk.net.model.down.weight[:, list(kept)], shrunk.net.model.down.bias)
    assert apart(shrunk.model(x), expected) < 1e-6


def test_fallback_is_taken_when_the_code_would_compute_something_else() -> None:
    class Switching(Stubborn):
        def forward(self, x: Tensor) -> Tensor:
            x = self.up(x)
            return self.down(x.relu() if x.shape[-1] > 5 else x.sigmoid())

    shrunk = shrink(seeded(Switching), torch.randn(3, 6))
    assert shrunk.cut.fallback is not None
    assert "computes something else" in shrunk.cut.fallback
    assert isinstance(shrunk.model, GraphNetwork)


@pytest.mark.parametrize("training", [True, False])
def test_fallback_keeps_the_mode(training: bool) -> None:
    assert shrink(seeded(Stubborn).train(training), torch.randn(3, 6)).model.training is training


@dataclass(frozen=True)
class Wrong:
    """A rule for relu that ties its output backwards: what no right rule does."""

    def __call__(self, op: Any, space: Any) -> None:
        space.tie(op.output[0], op.dims("self")[0])


def test_cut_by_a_wrong_rule_is_never_returned() -> None:
    """Nothing says that what goes in and what comes out are one axis: the halves that are kept differ."""
    from penjing.network import RULES

    model = seeded(lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)))
    net = trace(model, torch.randn(3, 6), rules={**RULES, "aten.relu": Wrong()})
    free = {axis.name: tuple(range(n, axis.size, 2)) for n, axis in enumerate(net.prunable)}
    assert len(free) == 2
    with pytest.raises(PenjingError) as caught:
        cut(net, Keep(free))
    assert caught.value.code == "PJ205"


# -- plain layers in a row -------------------------------------------------------------------------


def test_sequential_is_cut_though_its_input_is_called_like_a_builtin() -> None:
    model = own(
        shrink(seeded(lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))), torch.randn(3, 6))
    )
    assert [model[0].out_features, model[2].in_features] == [4, 4]


def test_axes_of_one_layer_are_cut_alone() -> None:
    shrunk = shrink(seeded(Net), X, those(lambda axis: axis.name == "conv2"))
    model = own(shrunk)
    assert (model.conv1.out_channels, model.conv2.out_channels, model.fc.in_features) == (8, 3, 12)
    assert every_other(shrunk.net, "conv2") == shrunk.keep.kept


class Remembering(nn.Module):
    """Attention biases that are kept from call to call until the module is trained on, as LeViT has them."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(16, 3 * 16), nn.Linear(16, 16)
        self.biases = nn.Parameter(torch.randn(4, 9))
        self.register_buffer("places", torch.arange(9).view(3, 3), persistent=False)
        self.kept: dict[str, Tensor] = {}

    def train(self, mode: bool = True) -> Remembering:
        super().train(mode)
        if mode:
            self.kept = {}
        return self

    def forward(self, x: Tensor) -> Tensor:
        if self.training or "biases" not in self.kept:
            self.kept["biases"] = self.biases[:, self.places].detach()
        q, k, v = self.qkv(x).unflatten(-1, (3, 4, 4)).permute(2, 0, 3, 1, 4)
        return self.out(((q @ k.mT + self.kept["biases"]).softmax(-1) @ v).transpose(1, 2).flatten(2))


def test_what_a_module_keeps_between_calls_is_dropped_before_it_is_cut() -> None:
    x = torch.randn(2, 3, 16)
    model = seeded(Remembering)
    expected = model(x)
    shrunk = shrink(model, x)
    assert own(shrunk).biases.shape[0] == 2
    assert shrunk.model.places.shape == (3, 3)
    assert torch.equal(model(x), expected)
    assert model.kept
    assert not model.training
    assert not shrunk.model.training
