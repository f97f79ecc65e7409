"""The rewritten graph as a module: called like the model it was taken from, with the same names."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from penjing.errors import PenjingError
from penjing.network import trace
from penjing.surgery.graph import GraphNetwork, rewrite
from penjing.surgery.selection import Selection
from tests.surgery.shrink import apart, every_other, seeded


def uncut(model: nn.Module, inputs: Any) -> GraphNetwork:
    """The graph of a model from which nothing is removed."""
    net = trace(model, inputs)
    return rewrite(net, Selection(net, {}))


def halved(model: nn.Module, inputs: Any) -> GraphNetwork:
    net = trace(model, inputs)
    return rewrite(net, Selection(net, every_other(net)))


class Mixed(nn.Module):
    """Batch norm, dropout, a tensor of each kind, tied and unread weights."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.up = nn.Linear(8, 12)
        self.head = nn.Linear(12, 12)
        self.tied = nn.Linear(12, 12, bias=False)
        self.tied.weight = self.head.weight
        self.out = nn.Linear(12, 4)
        self.unread = nn.Linear(2, 2)
        self.drop = nn.Dropout(0.5)
        self.register_buffer("shift", torch.randn(12))
        self.register_buffer("passing", torch.randn(12), persistent=False)
        self.plain = torch.randn(12)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu().mean((2, 3))
        x = self.up(x) + self.shift + self.passing * self.plain
        return self.out(self.drop(self.tied(self.head(x).relu())))


X = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("make", [uncut, halved])
def test_graph_keeps_the_names_of_the_state(make: Any) -> None:
    model = seeded(Mixed)
    graph = make(model, X)
    assert graph.state_dict().keys() == model.state_dict().keys()
    assert dict(graph.named_parameters()).keys() == dict(model.named_parameters()).keys()


def test_graph_takes_the_state_of_the_original_and_gives_its_outputs() -> None:
    model = seeded(Mixed)
    graph = uncut(seeded(Mixed, seed=1), X)
    assert not torch.allclose(graph(X), model(X))
    graph.load_state_dict(model.state_dict(), strict=True)
    graph.passing.copy_(model.passing)  # neither of the two is kept in a state
    graph.plain.copy_(model.plain)
    assert apart(graph.eval()(X), model(X)) < 1e-6


def test_graph_shares_no_tensor_with_the_original() -> None:
    model = seeded(Mixed)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    graph = uncut(model, X)
    with torch.no_grad():
        for tensor in [*graph.parameters(), *graph.buffers()]:
            tensor.zero_()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_graph_keeps_tied_weights_one_parameter() -> None:
    graph = halved(seeded(Mixed), X)
    assert graph.tied.weight is graph.head.weight
    names = [name for name, _ in graph.named_parameters(remove_duplicate=False)]
    assert {"tied.weight", "head.weight"} <= set(names)
    assert len(list(graph.parameters())) == len(names) - 1


def test_graph_keeps_what_is_frozen_frozen() -> None:
    model = seeded(Mixed)
    model.head.weight.requires_grad_(False)
    graph = halved(model, X)
    flags = {name: p.requires_grad for name, p in graph.named_parameters()}
    assert flags == {name: p.requires_grad for name, p in model.named_parameters()}
    assert not flags["head.weight"]


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_graph_takes_batches_of_other_sizes(batch: int) -> None:
    model = seeded(Mixed)
    x = torch.randn(batch, 3, 6, 6)
    assert apart(uncut(model, X).eval()(x), model(x)) < 1e-6


class Sizes(nn.Module):
    """Sizes of the batch in every place where code writes them."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 5)
        self.rnn = nn.GRU(8, 6, batch_first=True)
        self.join = nn.Linear(6, 5)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        b, n, _ = x.shape
        x = torch.cat([self.token.expand(b, -1, -1), x], 1)
        q, k, v = self.qkv(x).view(b, n + 1, 3, 2, 4).permute(2, 0, 3, 1, 4).reshape(3, b * 2, n + 1, 4)
        scores = (q @ k.mT / 2).view(b, 2, n + 1, n + 1).masked_fill(mask, -1e9)
        y = (scores.softmax(-1).reshape(b * 2, n + 1, n + 1) @ v).view(b, 2, n + 1, 4).transpose(1, 2)
        state = torch.zeros(1, b, 6)
        _, last = self.rnn(x, state)
        merged = x.reshape(b * (n + 1), 8).tanh().view(b, -1, 8)
        return self.out(y.reshape(b, n + 1, 8) + merged) + self.join(last[0])[:, None] + x.new_ones(b, 1, 5)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_graph_takes_batches_of_other_sizes_wherever_code_states_them(batch: int) -> None:
    """A second input without a batch, its first dimension another one, does not stand in the way."""
    mask = torch.triu(torch.ones(5, 5, dtype=torch.bool), 1)
    model = seeded(Sizes)
    graph = uncut(model, (torch.randn(3, 4, 8), mask))
    x = torch.randn(batch, 4, 8)
    assert apart(graph.eval()(x, mask), model(x, mask)) < 1e-6


def test_cut_graph_gives_every_batch_what_it_gives_each_of_its_members() -> None:
    mask = torch.triu(torch.ones(5, 5, dtype=torch.bool), 1)
    graph = halved(seeded(Sizes), (torch.randn(3, 4, 8), mask)).eval()
    x = torch.randn(6, 4, 8)
    assert apart(graph(x, mask), torch.cat([graph(part, mask) for part in x.split(2)])) < 1e-6


def test_graph_drops_out_in_training_only() -> None:
    graph = uncut(seeded(Mixed), X)
    graph.eval()
    assert torch.equal(graph(X), graph(X))
    graph.train()
    assert not torch.equal(graph(X), graph(X))


def test_graph_normalises_by_its_batch_in_training_and_learns_its_statistics() -> None:
    model = seeded(Mixed)
    model.drop.p = 0.0
    graph = uncut(model, X)
    graph.train()
    reference = deepcopy(model).train()
    assert apart(graph(X), reference(X)) < 1e-6
    assert apart(graph.norm.running_mean, reference.norm.running_mean) < 1e-6
    assert apart(graph.norm.running_var, reference.norm.running_var) < 1e-6
    assert apart(graph.eval()(X), reference.eval()(X)) < 1e-6


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.BatchNorm1d(8, track_running_stats=False),
        lambda: nn.InstanceNorm1d(8),
        lambda: nn.InstanceNorm1d(8, affine=True, track_running_stats=True),
        lambda: nn.AlphaDropout(0.0),
        lambda: nn.RReLU(),
    ],
    ids=["batch norm without statistics", "instance norm", "with statistics", "alpha dropout", "rrelu"],
)
def test_graph_follows_layers_that_differ_in_training(layer: Any, mode: bool) -> None:
    x = torch.randn(3, 8, 5)
    model = seeded(lambda: nn.Sequential(nn.Conv1d(8, 8, 1), layer(), nn.Conv1d(8, 2, 1))).train(mode)
    graph = uncut(model, x).train(mode)
    torch.manual_seed(0)
    found = graph(x)
    torch.manual_seed(0)
    assert apart(found, model(x)) < 1e-5
    assert apart(graph.eval()(x), model.eval()(x)) < 1e-5


def test_graph_trains() -> None:
    graph = halved(seeded(Mixed), X)
    graph.train()
    graph(X).square().mean().backward()
    for name, parameter in graph.named_parameters():
        assert (parameter.grad is not None) != name.startswith("unread"), name


@dataclass
class Detection:
    scores: Tensor
    boxes: Tensor
    note: str = "none"


class Pair(NamedTuple):
    mean: Tensor
    last: Tensor


class Heads(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.body, self.scores, self.boxes = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(8, 4)
        self.kind = kind

    def forward(self, x: Tensor) -> Any:
        x = self.body(x).relu()
        scores, boxes = self.scores(x), self.boxes(x)
        if self.kind == "dict":
            return {"scores": scores, "extra": [boxes, (scores.mean(), None, 7)]}
        if self.kind == "dataclass":
            return Detection(scores, boxes)
        return Pair(scores, boxes)


def same_structure(found: Any, wanted: Any) -> bool:
    """Compared by value, tensors to rounding."""
    if isinstance(wanted, Tensor):
        return isinstance(found, Tensor) and torch.allclose(found, wanted, atol=1e-6)
    if type(found) is not type(wanted):
        return False
    if isinstance(wanted, dict):
        return [*found] == [*wanted] and all(same_structure(found[k], wanted[k]) for k in wanted)
    if isinstance(wanted, list | tuple):
        return len(found) == len(wanted) and all(map(same_structure, found, wanted))
    return same_structure(vars(found), vars(wanted)) if isinstance(wanted, Detection) else found == wanted


@pytest.mark.parametrize("kind", ["dict", "dataclass", "namedtuple"])
def test_graph_returns_what_the_model_returns(kind: str) -> None:
    model = seeded(lambda: Heads(kind))
    x = torch.randn(2, 6)
    assert same_structure(uncut(model, x).eval()(x), model(x))
    assert type(halved(model, x)(x)) is type(model(x))


class Named(nn.Module):
    """Two inputs of one shape, one optional, and a flag."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.kind, self.out = nn.Embedding(9, 8), nn.Embedding(9, 8), nn.Linear(8, 4)

    def forward(
        self, ids: Tensor, kinds: Tensor, mask: Tensor | None = None, *, mean: bool = False
    ) -> Tensor:
        x = self.embed(ids) - self.kind(kinds)
        if mask is not None:
            x = x * mask[..., None]
        x = self.out(x)
        return x.mean(1) if mean else x


IDS, KINDS = torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([[7, 8, 0], [1, 1, 2]])
MASK = torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])


@pytest.mark.parametrize(
    "example", [(IDS, KINDS), {"ids": IDS, "kinds": KINDS}, {"kinds": KINDS, "ids": IDS}]
)
def test_graph_is_called_by_position_or_by_name_in_any_order(example: Any) -> None:
    model = seeded(Named)
    graph = uncut(model, example).eval()
    wanted = model(IDS, KINDS)
    for found in (
        graph(IDS, KINDS),
        graph(IDS, kinds=KINDS),
        graph(ids=IDS, kinds=KINDS),
        graph(kinds=KINDS, ids=IDS),
        graph(IDS, KINDS, None),
        graph(IDS, KINDS, mask=None, mean=False),
    ):
        assert apart(found, wanted) < 1e-6


def test_graph_takes_the_keys_of_a_dict_in_any_order() -> None:
    class Batch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Named()

        def forward(self, batch: dict[str, Tensor]) -> Tensor:
            return self.inner(batch["ids"], batch["kinds"])

    model = seeded(Batch)
    graph = uncut(model, ({"ids": IDS, "kinds": KINDS},)).eval()
    assert apart(graph({"kinds": KINDS, "ids": IDS}), model.inner(IDS, KINDS)) < 1e-6


@pytest.mark.parametrize(
    ("args", "kwargs", "word"),
    [
        ((IDS, KINDS, MASK), {}, "mask"),
        ((IDS, KINDS), {"mask": MASK}, "mask"),
        ((IDS, KINDS), {"mean": True}, "mean"),
        ((IDS,), {}, "kinds"),
        ((IDS, None), {}, "kinds"),
        ((IDS, KINDS), {"other": 1}, "other"),
    ],
    ids=["mask by position", "mask by name", "flag", "too few", "none", "unknown"],
)
def test_graph_refuses_arguments_that_it_was_not_traced_with(args: Any, kwargs: Any, word: str) -> None:
    graph = uncut(seeded(Named), (IDS, KINDS))
    with pytest.raises(PenjingError) as caught:
        graph(*args, **kwargs)
    assert caught.value.code == "PJ209"
    assert word in caught.value.because


def test_graph_takes_an_optional_argument_that_it_was_traced_with() -> None:
    model = seeded(Named)
    graph = uncut(model, {"ids": IDS, "kinds": KINDS, "mask": MASK, "mean": True}).eval()
    assert apart(graph(IDS, KINDS, MASK, mean=True), model(IDS, KINDS, MASK, mean=True)) < 1e-6
    with pytest.raises(PenjingError, match="mean"):
        graph(IDS, KINDS, MASK)


def test_graph_survives_deepcopy_independently() -> None:
    graph = halved(seeded(Mixed), X).eval()
    twin = deepcopy(graph)
    assert torch.equal(twin(X), graph(X))
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert not twin(X).any()
    assert graph(X).any()
    assert twin.tied.weight is twin.head.weight


def test_graph_of_a_model_whose_parts_are_called_like_its_own_attributes() -> None:
    class Clash(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.graph, self.forward_pass, self.operators = (nn.Linear(3, 3) for _ in range(3))

        def forward(self, input: Tensor) -> Tensor:
            return self.operators(self.forward_pass(self.graph(input).relu()).relu())

    model = seeded(Clash)
    graph = uncut(model, torch.randn(2, 3)).eval()
    x = torch.randn(4, 3)
    assert apart(graph(input=x), model(x)) < 1e-6
    assert graph.state_dict().keys() == model.state_dict().keys()


def test_graph_moves_to_another_type() -> None:
    model = seeded(Mixed)
    graph = uncut(model, X).eval().double()
    assert graph(X.double()).dtype == torch.float64
    model.plain = model.plain.double()
    assert apart(graph(X.double()), model.double()(X.double())) < 1e-12


def test_graph_is_exported_again(tmp_path: Path) -> None:
    from tests.equivalence.onnx_run import run_onnx

    graph = halved(seeded(Mixed), X).eval()
    program = torch.export.export(graph, (X,), strict=False)
    assert torch.equal(program.module()(X), graph(X))
    with torch.no_grad():
        (found,) = run_onnx(graph, (X,), tmp_path / "model.onnx")
        assert apart(found, graph(X)) < 1e-5
