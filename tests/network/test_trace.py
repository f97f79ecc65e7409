"""Tracing: how a model may be called, what is refused and why, and that the model is left as it was."""

from __future__ import annotations

import collections
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from penjing.errors import PenjingError
from penjing.network import Call, Network, trace

HERE = Path(__file__)


def line_of(words: str) -> str:
    lines = HERE.read_text(encoding="utf-8").splitlines()
    return f"{HERE}:{next(number for number, line in enumerate(lines, 1) if words in line)}"


def names(net: Network) -> set[str]:
    return {axis.name for axis in net.prunable}


class Two(nn.Module):
    """Two inputs, one of which may be left out."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(5, 8), nn.Linear(3, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, left: Tensor, right: Tensor | None = None, *, scale: float = 1.0) -> Tensor:
        h = self.left(left)
        if right is not None:
            h = h + self.right(right)
        return self.head(h.relu()) * scale


class Packed(nn.Module):
    """Takes one mapping."""

    def __init__(self) -> None:
        super().__init__()
        self.two = Two()

    def forward(self, batch: dict[str, Any]) -> Tensor:
        return self.two(batch["left"], batch["pair"][0])


class Anything(Two):
    def forward(self, *args: Tensor, **kwargs: Any) -> Tensor:
        return super().forward(*args, **kwargs)


LEFT, RIGHT = torch.randn(4, 5), torch.randn(4, 3)
TIED = {"left.weight", "left.bias", "right.weight", "right.bias", "head.weight"}


# -- call forms


@pytest.mark.parametrize(
    ("inputs", "args", "kwargs"),
    [
        (LEFT, 1, []),
        ((LEFT,), 1, []),
        ([LEFT, RIGHT], 2, []),
        ((LEFT, RIGHT), 2, []),
        ({"left": LEFT, "right": RIGHT}, 0, ["left", "right"]),
        ({"right": RIGHT, "left": LEFT}, 0, ["right", "left"]),
        ({"left": LEFT, "right": RIGHT, "scale": 2.0}, 0, ["left", "right", "scale"]),
        (Call((LEFT,), {"right": RIGHT, "scale": 0.5}), 1, ["right", "scale"]),
    ],
    ids=["tensor", "tuple", "list", "pair", "dict", "dict-reordered", "dict-number", "call"],
)
@pytest.mark.parametrize("kind", [Two, Anything])
def test_trace_takes_inputs_as_the_model_is_called(
    kind: type[Two], inputs: Any, args: int, kwargs: list[str]
) -> None:
    net = trace(kind().eval(), inputs)
    assert len(net.call.args) == args
    assert list(net.call.kwargs) == kwargs
    assert names(net) == {"left"}
    both = args == 2 or "right" in kwargs
    assert {m.tensor for m in net.axis("left").members} == (
        TIED if both else TIED - {"right.weight", "right.bias"}
    )


def test_trace_takes_a_mapping_as_one_argument_where_forward_names_none_of_its_keys() -> None:
    net = trace(Packed().eval(), {"left": LEFT, "pair": (RIGHT, None)})
    assert len(net.call.args) == 1
    assert names(net) == {"two.left"}
    assert {axis.frozen for axis in net.axes if axis.name == "two.left:in"} == {
        "dimension 1 of input `batch_left`"
    }


def test_trace_gives_the_same_axes_whichever_way_the_model_is_called() -> None:
    ways: list[Any] = [(LEFT, RIGHT), {"left": LEFT, "right": RIGHT}, {"right": RIGHT, "left": LEFT}]
    nets = [trace(Two().eval(), way) for way in ways]
    assert nets[0].axes == nets[1].axes
    assert set(nets[0].axes) == set(nets[2].axes)
    assert len({net.macs for net in nets}) == 1


def test_call_copies_its_tensors() -> None:
    copy = Call.of(Two(), {"left": LEFT, "scale": 3.0}).copy()
    assert copy.kwargs["left"] is not LEFT
    assert torch.equal(copy.kwargs["left"], LEFT)
    assert copy.kwargs["scale"] == 3.0


# -- refusals


def refusal(model: nn.Module, inputs: Any) -> PenjingError:
    with pytest.raises(PenjingError) as caught:
        trace(model, inputs)
    return caught.value


@pytest.mark.parametrize(
    "inputs",
    [(), (LEFT, RIGHT, LEFT), {"left": LEFT, "centre": RIGHT}, {}, Call((LEFT,), {"left": LEFT})],
    ids=["none", "too-many", "unknown-name", "empty", "twice"],
)
def test_trace_refuses_inputs_that_do_not_fit_the_signature(inputs: Any) -> None:
    error = refusal(Two(), inputs)
    if error.code == "PJ102":  # a mapping with an unknown name is one argument, which the model cannot take
        assert isinstance(inputs, dict)
        return
    assert error.code == "PJ101"
    assert (
        "forward takes (left: 'Tensor', right: 'Tensor | None' = None, *, scale: 'float' = 1.0)"
        in error.because
    )
    assert error.tries


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (torch.randn(4, 7), "mat1 and mat2 shapes cannot be multiplied (4x7 and 5x8)"),
        (torch.randn(4, 5, dtype=torch.float64), "dtype"),
        ("text", "linear()"),
    ],
    ids=["shape", "dtype", "text"],
)
def test_trace_refuses_inputs_that_the_model_cannot_run_on(inputs: Any, said: str) -> None:
    error = refusal(Two(), inputs)
    assert error.code == "PJ102"
    assert said in error.because
    assert error.path == line_of("h = self.left(left)")
    assert str(tuple(inputs.shape) if isinstance(inputs, Tensor) else inputs) in error.what


def test_trace_names_the_line_in_the_users_code_at_which_the_model_fails() -> None:
    class Raises(Two):
        def forward(self, left: Tensor) -> Tensor:
            raise ValueError("two is enough")  # fails here

    error = refusal(Raises(), LEFT)
    assert (error.code, error.because) == ("PJ102", "ValueError: two is enough")
    assert error.path == line_of("# fails here")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_trace_refuses_weights_that_are_not_finite(value: float) -> None:
    model = Two()
    with torch.no_grad():
        model.right.weight[3, 1] = value
    error = refusal(model, (LEFT, RIGHT))
    assert error.code == "PJ104"
    assert "`right.weight`" in error.what


def test_trace_takes_buffers_that_are_not_finite() -> None:
    model = Two()
    model.register_buffer("mask", torch.full((3, 3), -torch.inf).triu(1))
    assert names(trace(model, LEFT)) == {"left"}


def test_trace_refuses_lazy_layers_that_have_no_size_yet() -> None:
    model = nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 2))
    error = refusal(model, LEFT)
    assert (error.code, error.what) == ("PJ102", "`0.weight` has no size yet")
    model(LEFT)
    assert names(trace(model, LEFT)) == {"0"}


def test_trace_refuses_a_file() -> None:
    with pytest.raises(PenjingError, match="PJ105") as caught:
        trace("model.onnx", LEFT)  # type: ignore[arg-type]
    assert caught.value.because == ".onnx files are not read yet"


# -- what stays


class Restless(nn.Module):
    """Changes whatever it can while it runs: buffers, attributes, containers, its random state."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3)
        self.norm, self.drop = nn.BatchNorm1d(8), nn.Dropout(0.5)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.register_buffer("seen", torch.zeros(8))
        self.history: list[Any] = []
        self.cache: dict[str, Any] = {"kept": 1, "nested": {"deep": []}}
        self.names = {"first"}
        self.recent: collections.deque[int] = collections.deque([1, 2, 3], maxlen=3)
        self.last: Tensor | None = None
        self.plain = torch.ones(8)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.first(x))
        self.calls += 1
        self.seen.copy_(h.detach().mean(0))
        self.history.append(h)
        self.cache["nested"]["deep"].append(h)
        self.cache["new"] = h
        self.cache.pop("kept", None)
        self.names.add("second")
        self.recent.append(4)
        if not torch.compiler.is_exporting():  # the exporter refuses these two
            self.plain.data.mul_(2)
            self.last, self.fresh = h, h
        torch.rand(3)
        return self.second(self.drop(h).relu())


class Doubting(Restless):
    """The same, and `torch.export` refuses it."""

    def forward(self, x: Tensor) -> Tensor:
        assert bool(x.sum() < 1e9)
        return super().forward(x)


def snapshot(model: nn.Module) -> dict[str, Any]:
    """Everything that can be read of a model, with tensors as lists."""

    def plain(value: Any) -> Any:
        if isinstance(value, Tensor):
            gradient = value.grad if value.is_leaf else None
            return value.tolist(), value.requires_grad, None if gradient is None else gradient.tolist()
        if isinstance(value, dict):
            return {key: plain(entry) for key, entry in value.items()}
        if isinstance(value, list | tuple | collections.deque):
            return [plain(entry) for entry in value]
        return value

    return {
        path: plain({k: v for k, v in vars(module).items() if k != "_modules"})
        for path, module in model.named_modules()
    }


def used(kind: type[Restless]) -> Restless:
    """A model in the middle of its training: gradients, mixed training flags, frozen parameters, hooks."""
    model = kind().train()
    model.second.eval()
    model.norm.weight.requires_grad_(False)
    model(torch.randn(4, 6)).sum().backward()
    model.first.register_forward_hook(lambda module, args, output: output * 1.0)
    model.register_forward_pre_hook(lambda module, args: None)
    return model


@pytest.mark.parametrize("kind", [Restless, Doubting], ids=["exported", "recorded"])
def test_trace_leaves_the_model_exactly_as_it_was(kind: type[Restless]) -> None:
    model = used(kind)
    history = model.history
    tensors = {name: id(t) for name, t in [*model.named_parameters(), *model.named_buffers()]}
    before, drawn = snapshot(model), torch.get_rng_state()
    net = trace(model, torch.randn(4, 6, generator=torch.Generator().manual_seed(0)))
    assert (net.trace.specialised is not None) == (kind is Doubting)
    assert "first" in names(net)
    assert snapshot(model) == before
    assert model.history is history
    assert {name: id(t) for name, t in [*model.named_parameters(), *model.named_buffers()]} == tensors
    assert torch.equal(torch.get_rng_state(), drawn)


@pytest.mark.parametrize("kind", [Restless, Doubting], ids=["exported", "recorded"])
def test_trace_leaves_a_model_that_still_copies_trains_and_runs_as_before(kind: type[Restless]) -> None:
    model, x = kind().eval(), torch.randn(4, 6)
    twin = deepcopy(model)
    trace(model, x)
    copy = deepcopy(model)
    assert snapshot(copy) == snapshot(twin)
    assert torch.equal(copy(x), twin(x))
    copy.train()(x).sum().backward()
    assert copy.first.weight.grad is not None


def test_trace_leaves_the_model_as_it_was_when_the_inputs_do_not_run() -> None:
    model = used(Restless)
    before = snapshot(model)
    assert refusal(model, torch.randn(4, 6, 2)).code == "PJ102"
    assert snapshot(model) == before


def test_trace_leaves_the_inputs_as_they_were() -> None:
    class Overwrites(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            x.mul_(0.5)
            return super().forward(x)

    x = torch.ones(2, 4)
    trace(Overwrites(4, 3), x)
    assert torch.equal(x, torch.ones(2, 4))


def test_trace_is_in_eval_mode_whatever_mode_the_model_is_in() -> None:
    model = used(Restless)
    net = trace(model.train(), torch.randn(4, 6))
    flags = {op.target: op.arguments for op in net.operators}
    assert flags["aten.batch_norm.default"]["training"] is False
    assert model.training


def test_trace_works_on_the_meta_device() -> None:
    with torch.device("meta"):
        model, inputs = Two(), (torch.randn(4, 5), torch.randn(4, 3))
    net = trace(model, inputs)
    assert names(net) == {"left"}
    assert net.parameters == sum(p.numel() for p in model.parameters())


def test_trace_gives_an_axis_by_name_and_the_nearest_names_where_there_is_none() -> None:
    net = trace(Two(), (LEFT, RIGHT))
    assert net.axis("left").size == 8
    with pytest.raises(PenjingError, match="PJ201") as caught:
        net.axis("lft")
    assert caught.value.tries[0] == "`left`"
    assert len(caught.value.tries) == 3


def test_trace_holds_the_users_module_itself() -> None:
    model = Two()
    assert trace(model, LEFT).model is model
