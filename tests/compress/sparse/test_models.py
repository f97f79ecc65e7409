"""Models whose code does more with its layers than to call them one after another."""

from __future__ import annotations

import copy
import pickle
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import penjing as pj
from penjing.compress.sparse import choose as choose_module
from penjing.compress.sparse import whole as whole_module
from penjing.compress.sparse.layer import SparseConv2d, SparseLayer
from penjing.compress.sparse.whole import difference
from penjing.errors import PenjingError
from penjing.network import Call
from tests.compress.sparse.models import emptied

N = 128


@pytest.fixture(autouse=True)
def every_layer_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked here is not whether sparse is quicker."""
    for module in (choose_module, whole_module):
        monkeypatch.setattr(module, "surely_less", lambda one, other: True)


def linear(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    return emptied(nn.Linear(N, N), 0.95).to(dtype)


class Model(nn.Module):
    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.layer = linear(dtype)
        self.prepare()

    def prepare(self) -> None:
        """What a model keeps besides."""

    def forward(self, x: Tensor) -> Any:
        return self.layer(x)


X = torch.randn(8, N, generator=torch.Generator().manual_seed(1))


class Elsewhere(Model):
    def prepare(self) -> None:
        self.other = linear()
        self.others = [self.other]

    def forward(self, x: Tensor) -> Any:
        return self.others[0](self.layer(x))


def test_layer_that_is_called_by_another_reference_stays_dense(tmp_path: Path) -> None:
    sparse = pj.to_sparse(Elsewhere(), X)
    assert set(sparse.record.chosen) == {"layer"}
    (other,) = (line for line in sparse.record.layers if line.name == "other")
    assert "another reference" in other.reason
    again = pj.load_sparse(sparse.save(tmp_path / "sparse"), Elsewhere)
    assert torch.equal(again(X), sparse.model(X))
    torch.testing.assert_close(sparse.model(X), Elsewhere()(X), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_loaded_model_has_the_types_that_were_saved(tmp_path: Path, dtype: torch.dtype) -> None:
    sparse = pj.to_sparse(Model(dtype), X.to(dtype))
    assert bool(sparse.record.chosen) == (dtype == torch.float64)
    again = pj.load_sparse(sparse.save(tmp_path / "sparse"), Model)
    found, wanted = again(X.to(dtype)), sparse.model(X.to(dtype))
    assert found.dtype == wanted.dtype == dtype
    assert torch.equal(found, wanted)


class Keeping(Model):
    def prepare(self) -> None:
        self.position: Tensor | None = None
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("state", torch.zeros(N))

    def forward(self, x: Tensor) -> Any:
        self.calls += 1
        self.state = self.state * 0.9 + x.mean(0) * 0.1
        if self.position is None:
            self.position = torch.arange(float(N)).sin()
        return self.layer(x) * self.position


def test_model_that_keeps_something_between_calls_is_as_it_was() -> None:
    model = Keeping()
    sparse = pj.to_sparse(model, X)
    assert model.position is None
    assert (float(model.calls), float(sparse.model.calls)) == (0, 0)
    assert torch.equal(model.state, torch.zeros(N))
    model.train()(X).sum().backward()
    model.load_state_dict(model.state_dict())


class InPlace(Model):
    def forward(self, x: Tensor) -> Any:
        return self.layer(x.mul_(2))


def test_inputs_are_not_written_to() -> None:
    x = X.clone()
    sparse = pj.to_sparse(InPlace(), x)
    assert torch.equal(x, X)
    assert torch.equal(sparse._call.args[0], X)


class Answers(nn.Module):
    def __init__(self, sign: float, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.sign = layer, sign

    def forward(self, x: Tensor) -> Any:
        return {"logits": x * self.sign, "ids": torch.full((4,), 1_000_000)}


def test_a_large_output_hides_no_difference() -> None:
    sparse = pj.to_sparse(linear(), X).model
    assert isinstance(sparse, SparseLayer)
    with pytest.raises(PenjingError) as caught:
        difference(Answers(1.0, sparse), Answers(-1.0, sparse), Call((X,)))
    assert caught.value.code == "PJ802"


@dataclass
class Own:
    x: Tensor


class OwnType(Model):
    def forward(self, x: Tensor) -> Any:
        return Own(self.layer(x))


def test_outputs_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(PenjingError, match="could be compared") as caught:
        pj.to_sparse(OwnType(), X)
    assert caught.value.code == "PJ102"


class Doubled(Model):
    def forward(self, x: Tensor) -> Any:
        return self.layer(x).double(), torch.view_as_complex(self.layer(x).view(8, -1, 2).contiguous())


class Wholes(Model):
    def forward(self, x: Tensor) -> Any:
        return (self.layer(x) * 1e9).long()


class Drawing(Model):
    def forward(self, x: Tensor) -> Any:
        return self.layer(x) + torch.randn(N)


@pytest.mark.parametrize("kind", [Doubled, Wholes, Drawing])
def test_outputs_of_other_types_and_random_ones_are_no_defect(kind: type[Model]) -> None:
    assert set(pj.to_sparse(kind(), X).record.chosen) == {"layer"}


class Ranked(Model):
    def forward(self, x: Tensor) -> Any:
        y = self.layer(x)
        return y, (y * 1e9).long() % 7


def test_whole_numbers_that_jump_leave_the_model_dense() -> None:
    sparse = pj.to_sparse(Ranked(), X)
    assert not sparse.record.chosen
    assert "whole numbers" in sparse.record.note
    assert isinstance(sparse.model.layer, nn.Linear)


class Asking(Model):
    def forward(self, x: Tensor) -> Any:
        assert self.layer.out_features == N
        return self.layer(x.reshape(-1, self.layer.in_features))  # type: ignore[call-overload]


def test_sizes_of_a_layer_may_be_asked_for() -> None:
    assert set(pj.to_sparse(Asking(), X).record.chosen) == {"layer"}


class Typed(Model):
    def forward(self, x: Tensor) -> Any:
        if not isinstance(self.layer, nn.Linear):
            raise TypeError("a linear layer is needed")
        return self.layer(x)


def test_code_that_fails_with_sparse_layers_keeps_its_own() -> None:
    sparse = pj.to_sparse(Typed(), X)
    (line,) = sparse.record.layers
    assert line.chosen is None
    assert "a linear layer is needed" in line.reason
    assert torch.equal(sparse.model(X), Typed()(X))


class Derived(Model):
    def prepare(self) -> None:
        self.total = self.layer.weight.sum()  # type: ignore[operator]


class Locked(Model):
    def prepare(self) -> None:
        self.lock = threading.Lock()


def test_tensors_computed_from_parameters_are_copied_and_locks_refused() -> None:
    assert set(pj.to_sparse(Derived(), X).record.chosen) == {"layer"}
    with pytest.raises(PenjingError, match="cannot be copied") as caught:
        pj.to_sparse(Locked(), X)
    assert caught.value.code == "PJ804"


def convolution(**given: Any) -> nn.Conv2d:
    torch.manual_seed(0)
    found = emptied(nn.Conv2d(32, 32, **given), 0.95)
    assert isinstance(found, nn.Conv2d)
    return found


IMAGE = torch.randn(2, 32, 8, 8, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("kernel", [1, 3])
def test_convolution_is_copied_pickled_and_takes_no_image_at_all(kernel: int) -> None:
    model = nn.Sequential(convolution(kernel_size=kernel), nn.ReLU())
    sparse = pj.to_sparse(model, IMAGE).model
    assert isinstance(sparse[0], SparseConv2d)  # type: ignore[index]
    for again in (copy.deepcopy(sparse), pickle.loads(pickle.dumps(sparse))):
        assert torch.equal(again(IMAGE), sparse(IMAGE))
    assert sparse(IMAGE[:0]).shape == model(IMAGE[:0]).shape
    for wrong in (IMAGE[0, 0], IMAGE[None], IMAGE[:, :5]):
        with pytest.raises(RuntimeError, match="expected"):
            sparse(wrong)
    assert (sparse[0].in_channels, sparse[0].out_channels, sparse[0].kernel_size) == (  # type: ignore[index]
        32, 32, (kernel, kernel),
    )  # fmt: skip


def test_convolution_whose_outputs_lie_channels_last_stays_dense() -> None:
    model = nn.Sequential(convolution(kernel_size=1)).to(memory_format=torch.channels_last)
    (line,) = pj.to_sparse(model, IMAGE.contiguous(memory_format=torch.channels_last)).record.layers
    assert line.chosen is None
    assert "channels last" in line.reason


def test_convolution_of_another_geometry_is_refused(tmp_path: Path) -> None:
    model = nn.Sequential(convolution(kernel_size=3, padding=1))
    folder = pj.to_sparse(model, IMAGE).save(tmp_path / "sparse")
    with pytest.raises(PenjingError, match="stride") as caught:
        pj.load_sparse(folder, lambda: nn.Sequential(convolution(kernel_size=3, padding=1, stride=2)))
    assert caught.value.code == "PJ801"


def test_layers_of_other_kinds_are_listed() -> None:
    model = nn.Sequential(nn.Embedding(50, N), linear())
    lines = {line.name: line for line in pj.to_sparse(model, torch.randint(0, 50, (8,))).record.layers}
    assert set(lines) == {"0", "1"}
    assert "Embedding" in lines["0"].reason
    assert lines["0"].shape == (50, N)


def test_layer_in_half_precision_says_so() -> None:
    layer = pj.to_sparse(linear(), X).model.half()
    with pytest.raises(PenjingError, match="cannot work on this") as caught:
        layer(X.half())
    assert caught.value.code == "PJ803"


def test_saved_into_an_empty_directory_and_through_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sparse = pj.to_sparse(Model(), X)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    sparse.save(tmp_path / "link")
    assert torch.equal(pj.load_sparse(tmp_path / "real", Model)(X), sparse.model(X))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    sparse.save(".")
    assert torch.equal(pj.load_sparse(".", Model)(X), sparse.model(X))
    assert sorted(one.name for one in tmp_path.iterdir()) == ["here", "link", "real"]


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    sparse = pj.to_sparse(Model(), X)
    with pytest.raises(PenjingError) as caught:
        sparse.export("")
    assert caught.value.code == "PJ602"
    with pytest.raises(PenjingError, match="builds one") as caught:
        pj.load_sparse(sparse.save(tmp_path / "sparse"), Model())  # type: ignore[arg-type]
    assert caught.value.code == "PJ801"
    for threads in (10**11, 1.5, "2"):
        with pytest.raises(PenjingError) as caught:
            pj.to_sparse(Model(), X, threads=threads)  # type: ignore[arg-type]
        assert caught.value.code == "PJ406"
    with pytest.raises(PenjingError, match="meta") as caught:
        pj.to_sparse(Model().to("meta"), X.to("meta"))
    assert caught.value.code == "PJ102"
