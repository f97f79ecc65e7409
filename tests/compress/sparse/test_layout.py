"""Outputs lie by columns only where the model's code cannot tell, on any batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import penjing as pj
from penjing.compress.sparse import network as network_module
from penjing.compress.sparse.form import Form
from penjing.compress.sparse.layer import SparseLinear
from penjing.compress.sparse.layout import looked_at_alike, taking_columns
from penjing.network.call import Call
from tests.compress.sparse.models import emptied


class Model(nn.Module):
    """Two layers one behind the other, and code behind each."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.behind_second(self.second(self.behind_first(self.first(x)))))

    def behind_first(self, x: Tensor) -> Tensor:
        return torch.nn.functional.gelu(x)

    def behind_second(self, x: Tensor) -> Tensor:
        return torch.relu(x)


class Viewing(Model):
    def behind_second(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], -1, 8)


class Summing(Model):
    """The sum lies as its first operand does: by columns if that does."""

    def behind_second(self, x: Tensor) -> Tensor:
        return (x + 1).view(-1, 8)


class Striding(Model):
    def behind_first(self, x: Tensor) -> Tensor:
        return x * x.stride(-1)


class Turned(Model):
    """Looks at a tensor that never lies by rows, whatever the layers do."""

    def behind_second(self, x: Tensor) -> Tensor:
        turned = x.transpose(0, 1).contiguous().transpose(0, 1)
        assert turned.stride(-1) == 1
        return turned


FOUND = {Model: ["first", "second"], Viewing: ["first"], Summing: ["first"], Striding: ["second"],
         Turned: ["first", "second"]}  # fmt: skip


@pytest.mark.parametrize("kind", FOUND, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("batch", [1, 2])
def test_layers_are_found_whose_outputs_nobody_looks_at(kind: type[Model], batch: int) -> None:
    """Not the last one's: that is for whoever calls the model."""
    model = kind().eval()
    names = {layer: name for name, layer in model.named_children()}
    call = Call((torch.randn(batch, 5, 8),))
    assert [names[layer] for layer in taking_columns(model, call, model.children())] == FOUND[kind]
    assert not any(layer._forward_hooks for layer in model.modules())


def test_outputs_by_columns_are_the_same_numbers() -> None:
    layer = nn.Linear(8, 16).requires_grad_(False)
    x = torch.randn(2, 3, 8)
    rows, columns = (SparseLinear.of(layer, Form(), by_columns=by_columns) for by_columns in (False, True))
    assert torch.equal(rows(x), columns(x))
    assert not columns(x).is_contiguous()


def test_models_that_are_looked_at_alike_are_told_from_others() -> None:
    call = Call((torch.randn(2, 5, 8),))
    for kind, alike in ((Model, True), (Viewing, False), (Striding, False)):
        model, small = kind().requires_grad_(False), kind().requires_grad_(False)
        small.first = SparseLinear.of(model.first, Form(), by_columns=True)
        small.second = SparseLinear.of(model.second, Form(), by_columns=True)
        assert looked_at_alike(model, small, call) == alike


class Blocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (emptied(nn.Linear(512, 512), 0.99) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.second(torch.relu(self.first(x)))).reshape(x.shape[0], -1)


def test_whole_keeps_outputs_by_columns_where_they_may_be() -> None:
    sparse = pj.to_sparse(Blocks(), torch.randn(1, 64, 512))
    by_columns = {layer.name: layer.by_columns for layer in sparse.record.layers}
    assert by_columns == {"first": True, "second": True}
    assert sparse.model(torch.randn(3, 64, 512)).shape == (3, 64 * 512)


def test_layers_lie_by_rows_where_the_code_minds_after_all(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pytest.TempPathFactory
) -> None:
    class Minding(Blocks):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(self.first(x).view(x.shape))

    monkeypatch.setattr(network_module, "taking_columns", lambda model, call, layers: list(layers))
    sparse = pj.to_sparse(Minding(), torch.randn(1, 64, 512))
    assert set(sparse.record.chosen) == {"first", "second"}
    assert not any(layer.by_columns for layer in sparse.record.layers)
