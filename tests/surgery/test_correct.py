"""Calls with sizes that no attribute decides: corrected while the user's own code runs."""

from __future__ import annotations

import inspect
import io
import json
import pickle
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from penjing.errors import PenjingError
from penjing.network import trace
from penjing.surgery import redo
from tests.surgery.shrink import Shrunk, apart, own, seeded, shrink, those
from tests.surgery.test_watch import X


class OneWidth(nn.Module):
    """One `head_dim` for keys and for values, a literal in a `view`, and SDPA's own scale."""

    def __init__(self, dim: int = 16, head_dim: int = 4) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.q, self.k, self.v = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q = self.q(x).view(b, n, -1, self.head_dim).transpose(1, 2)
        k = self.k(x).view(b, n, -1, self.head_dim).transpose(1, 2)
        v = self.v(x).view(b, n, -1, self.head_dim).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).reshape(b, n, c))


class Literal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(16, 24), nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(x).view(x.shape[0], -1, 6, 4).softmax(-1)
        return self.down(y.flatten(2))


class Chunked(nn.Module):
    """A gate whose halves are told apart by a constant mask, so that they need not stay equally long."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.one, self.other = nn.Linear(16, 12), nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        one, other = self.up(x).chunk(2, dim=-1)
        return self.one(one.relu()) + self.other(other.sigmoid())


@pytest.fixture(scope="module")
def narrowed() -> Shrunk:
    """Values lose half their width, queries and keys keep theirs."""
    return shrink(seeded(OneWidth), X, those(lambda axis: axis.name == "v:value-width"))


@pytest.fixture(scope="module")
def literal() -> Shrunk:
    return shrink(seeded(Literal), X, those(lambda axis: axis.name == "up:1"))


def by_hand(model: OneWidth, x: Tensor, width: int, out_width: int) -> Tensor:
    """Attention of the cut module as a formula, head by head; the scale is that of the original."""
    heads = model.q.out_features // width
    parts = []
    for head in range(heads):
        rows, cols = slice(head * width, (head + 1) * width), slice(head * out_width, (head + 1) * out_width)
        q = F.linear(x, model.q.weight[rows], model.q.bias[rows])
        k = F.linear(x, model.k.weight[rows], model.k.bias[rows])
        v = F.linear(x, model.v.weight[cols], model.v.bias[cols])
        parts.append((q @ k.mT / 4**0.5).softmax(-1) @ v)
    return F.linear(torch.cat(parts, -1), model.out.weight, model.out.bias)


def test_one_head_dim_serves_keys_that_keep_their_width_and_values_that_lose_half(narrowed: Shrunk) -> None:
    model = own(narrowed)
    assert model.q.out_features == 16
    assert model.v.out_features == model.out.in_features == 8
    texts = {one["place"]["text"] for one in narrowed.cut.record["corrections"][""]}
    assert "self.v(x).view(b, n, -1, self.head_dim)" in texts
    assert not any(text.startswith(("self.q", "self.k")) for text in texts)
    assert apart(model(X), by_hand(model, X, 4, 2)) < 1e-6


def test_default_scale_of_attention_stays_what_it_was_when_keys_are_narrower() -> None:
    shrunk = shrink(seeded(OneWidth), X, those(lambda axis: axis.name == "q:query-key-width"))
    model = own(shrunk)
    assert model.q.out_features == model.k.out_features == 8
    scales = [dict(map(tuple, one["named"])) for one in shrunk.cut.record["corrections"][""]]
    assert {"scale": 0.5} in scales
    assert apart(model(X), by_hand(model, X, 2, 4)) < 1e-6


def test_literal_in_a_view_is_corrected(literal: Shrunk) -> None:
    model = own(literal)
    assert model.up.out_features == 12
    (one,) = literal.cut.record["corrections"][""]
    assert one["place"]["function"] == "view"
    assert one["numbers"] == (((0, 4), 2),)
    parts = F.linear(X, model.up.weight, model.up.bias).view(2, 6, 6, 2).softmax(-1).flatten(2)
    assert apart(model(X), F.linear(parts, model.down.weight, model.down.bias)) < 1e-6


def test_chunk_is_cut_into_unequal_pieces() -> None:
    net = trace(seeded(Chunked), X)
    first, second = (axis.name for axis in net.prunable)
    shrunk = shrink(seeded(Chunked), X, lambda _: {first: (0, 2), second: (1, 3, 4, 5)})
    model = own(shrunk)
    (one,) = shrunk.cut.record["corrections"][""]
    assert one["pieces"] == (2, 4)
    y = F.linear(X, model.up.weight, model.up.bias)
    assert apart(model(X), model.one(y[..., :2].relu()) + model.other(y[..., 2:].sigmoid())) < 1e-6


def test_scale_computed_in_forward_from_a_width_stays_what_it_was() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.v = nn.Linear(16, 8), nn.Linear(16, 8), nn.Linear(16, 5)

        def forward(self, x: Tensor) -> Tensor:
            q, k = self.q(x), self.k(x)
            scores = q @ k.transpose(-2, -1) / q.size(-1) ** 0.5
            return scores.softmax(-1) @ self.v(x)

    model = own(shrink(seeded(Scaled), X))
    assert model.q.out_features == 4
    scores = model.q(X) @ model.k(X).mT / 8**0.5
    assert apart(model(X), scores.softmax(-1) @ model.v(X)) < 1e-6


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_corrected_module_runs_on_batches_of_other_sizes(
    batch: int, narrowed: Shrunk, literal: Shrunk
) -> None:
    x = torch.randn(batch, 9, 16)
    assert apart(own(narrowed)(x), by_hand(own(narrowed), x, 4, 2)) < 1e-6
    assert own(literal)(x).shape == (batch, 9, 3)
    one_by_one = torch.cat([own(literal)(part) for part in x.split(1)])
    assert apart(own(literal)(x), one_by_one) < 1e-6


def test_corrected_module_survives_deepcopy_independently(narrowed: Shrunk) -> None:
    twin = deepcopy(own(narrowed))
    assert torch.equal(twin(X), own(narrowed)(X))
    with torch.no_grad():
        twin.v.weight.zero_()
        twin.v.bias.zero_()
        twin.out.bias.zero_()
    assert not twin(X).any()
    assert own(narrowed)(X).any()


def test_corrected_module_survives_pickle_and_torch_save(narrowed: Shrunk) -> None:
    model = own(narrowed)
    twin = pickle.loads(pickle.dumps(model))
    assert torch.equal(twin(X), model(X))
    assert twin.forward.module is twin
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=False)(X), model(X))


def test_corrected_module_keeps_the_names_and_values_of_its_state(narrowed: Shrunk) -> None:
    model = own(narrowed)
    assert list(model.state_dict()) == list(seeded(OneWidth).state_dict())
    twin = redo(json.loads(json.dumps(narrowed.cut.record)), seeded(OneWidth, seed=1))
    assert not torch.equal(twin(X), model(X))
    twin.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(twin(X), model(X))


def test_corrected_module_trains(narrowed: Shrunk) -> None:
    model = deepcopy(own(narrowed)).train()
    assert model.training
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    target = torch.zeros(2, 6, 16)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = F.mse_loss(model(X), target)
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert not model.eval().training


def test_corrected_module_has_the_gradients_of_the_formula(narrowed: Shrunk) -> None:
    model = deepcopy(own(narrowed)).double()
    x = X.double()
    ours = torch.autograd.grad(model(x).square().sum(), list(model.parameters()))
    theirs = torch.autograd.grad(by_hand(model, x, 4, 2).square().sum(), list(model.parameters()))
    assert apart(list(ours), list(theirs)) < 1e-12


def test_corrected_module_keeps_the_signature_of_its_forward(narrowed: Shrunk) -> None:
    assert inspect.signature(own(narrowed).forward) == inspect.signature(OneWidth().forward)


def test_corrected_module_is_traced_by_torch_export(narrowed: Shrunk) -> None:
    program = torch.export.export(own(narrowed), (X,), strict=False)
    assert torch.equal(program.module()(X), own(narrowed)(X))


def test_corrected_module_agrees_with_its_onnx_export(narrowed: Shrunk, tmp_path: Path) -> None:
    from tests.equivalence.onnx_run import run_onnx

    with torch.no_grad():
        (found,) = run_onnx(own(narrowed), (X,), tmp_path / "model.onnx")
        assert apart(found, own(narrowed)(X)) < 1e-5


def test_corrected_module_is_cut_again(narrowed: Shrunk) -> None:
    """The second cut starts from the first: what was corrected then is still corrected."""
    again = shrink(own(narrowed), X, those(lambda axis: axis.name == "q:query-key-width"))
    model = own(again)
    assert (model.q.out_features, model.v.out_features) == (8, 8)
    assert apart(model(X), by_hand(model, X, 2, 2)) < 1e-6
    assert apart(deepcopy(model)(X), model(X)) == 0


class Nested(nn.Module):
    """The same code at two depths, as in a U-Net built from the inside out."""

    def __init__(self, inner: Nested | None, width: int) -> None:
        super().__init__()
        self.up, self.inner, self.down = nn.Linear(16, width), inner, nn.Linear(width, 16)

    def forward(self, x: Tensor) -> Tensor:
        below = x if self.inner is None else self.inner(x)
        y = self.up(below).view(-1, 6, 4, 2).softmax(-2)
        return self.down(y.flatten(2))


@pytest.mark.parametrize("which", [("up:0",), ("inner.up:0",), ("up:0", "inner.up:0")], ids="+".join)
def test_correction_reaches_the_module_it_was_made_for_and_none_inside_of_the_same_code(
    which: tuple[str, ...],
) -> None:
    model = own(shrink(seeded(lambda: Nested(Nested(None, 8), 8)), X, those(lambda axis: axis.name in which)))
    assert model.up.out_features == (4 if "up:0" in which else 8)
    assert model.inner.up.out_features == (4 if "inner.up:0" in which else 8)


def test_correction_holds_for_a_module_that_is_called_several_times() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block, self.between = Literal(), nn.Linear(3, 16)

        def forward(self, x: Tensor) -> Tensor:
            return self.block(self.between(self.block(x)))

    model = own(shrink(seeded(Twice), X, those(lambda axis: axis.name == "block.up:1")))
    assert model.block.up.out_features == 12


class Around:
    """Triples what a module's own forward gives; wrappers of inference libraries look like this."""

    def __init__(self, module: Literal) -> None:
        self.module = module

    def __call__(self, x: Tensor) -> Tensor:
        return 3 * Literal.forward(self.module, x)


def test_correction_leaves_a_forward_that_the_user_set_on_the_instance() -> None:
    class Tripled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block, self.head = Literal(), nn.Linear(3, 3)
            self.block.forward = Around(self.block)  # type: ignore[method-assign,assignment]

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.block(x))

    shrunk = shrink(seeded(Tripled), X, those(lambda axis: axis.name == "block.up:1"))
    model = own(shrunk)
    parts = model.block.up(X).view(2, 6, 6, 2).softmax(-1).flatten(2)
    assert apart(model(X), model.head(3 * model.block.down(parts))) < 1e-6
    again = redo(json.loads(json.dumps(shrunk.cut.record)), seeded(Tripled))
    assert torch.equal(again(X), model(X))


SOURCE = """
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(16, 24), nn.Linear(24, 3)

    def forward(self, x):
        b = x.shape[0]
        y = self.up(x).view(
            b, -1, 6, 4
        )
        return self.down(y.softmax(-1).flatten(2))
"""


def written(text: str, folder: Path, name: str) -> Any:
    """The class `Block` of a source file."""
    file = folder / f"{name}.py"
    file.write_text(text)
    scope: dict[str, Any] = {"__name__": name}
    exec(compile(text, str(file), "exec"), scope)
    return scope["Block"]


def redone(before: str, after: str, folder: Path) -> tuple[nn.Module, nn.Module]:
    """A module cut with one text of its code, and the same cut on a module of another text."""
    narrower = those(lambda axis: axis.name == "up:1")
    shrunk = shrink(seeded(written(before, folder, "before")), X, narrower)
    record = json.loads(json.dumps(shrunk.cut.record))
    return own(shrunk), redo(record, seeded(written(after, folder, "after")))


@pytest.mark.parametrize(
    ("text", "edited"),
    [("b, -1, 6, 4", "b, -1, 4, 6"), ("self.up(x).view", "self.up(x).relu().view"), (".view(", ".reshape(")],
    ids=["other numbers on a line of its own", "another receiver", "another function"],
)
def test_correction_is_refused_when_the_call_has_been_edited(text: str, edited: str, tmp_path: Path) -> None:
    with pytest.raises(PenjingError) as caught:
        redone(SOURCE, SOURCE.replace(text, edited), tmp_path)
    assert caught.value.code == "PJ207"
    assert "Block" in caught.value.what
    assert "self.up(x).view(b, -1, 6, 4)" in caught.value.because


@pytest.mark.parametrize(
    ("text", "edited"),
    [
        ("class Block", "\n\n\nclass Block"),
        ("        b =", "        # a comment\n        b ="),
        ("(\n            b, -1, 6, 4\n        )", "(b, -1, 6, 4)"),
        ("y.softmax(-1)", "y.float().softmax(-1)"),
    ],
    ids=["the class has moved", "a line was added", "reformatted", "another call was edited"],
)
def test_correction_is_found_when_the_code_around_it_has_changed(
    text: str, edited: str, tmp_path: Path
) -> None:
    cut, again = redone(SOURCE, SOURCE.replace(text, edited), tmp_path)
    assert torch.equal(again(X), cut(X))
