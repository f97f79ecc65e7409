from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from penjing.errors import PenjingError
from penjing.recover import BatchNorm, Situation
from tests.recover.models import classifier, clusters


def test_batch_norm_estimates_the_average_over_batches() -> None:
    model, data = classifier(), clusters()
    BatchNorm(data).apply(model, Situation(model))
    with torch.no_grad():
        seen = [model.first(x).double() for x, _ in data]
    mean = torch.stack([x.mean(0) for x in seen]).mean(0)
    variance = torch.stack([x.var(0, unbiased=True) for x in seen]).mean(0)
    torch.testing.assert_close(model.norm.running_mean, mean.float(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.norm.running_var, variance.float(), rtol=1e-4, atol=1e-5)


def test_batch_norm_changes_nothing_but_its_statistics() -> None:
    model = classifier()
    model.train()
    model.drop.eval()
    before, momentum = deepcopy(model.state_dict()), model.norm.momentum
    modes = [module.training for module in model.modules()]
    BatchNorm(clusters()).apply(model, Situation(model))
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}
    assert model.norm.momentum == momentum
    assert [module.training for module in model.modules()] == modes


def test_batch_norm_takes_the_calibration_data_when_given_none() -> None:
    one, other = classifier(), classifier()
    BatchNorm(clusters()).apply(one, Situation(one))
    record = BatchNorm().apply(other, Situation(other, calibration=clusters()))
    assert torch.equal(one.norm.running_mean, other.norm.running_mean)
    assert record.options == {"layers": 1, "batches": 12}


def test_batch_norm_takes_inputs_without_targets_and_named_inputs() -> None:
    one, other, third = classifier(), classifier(), classifier()
    BatchNorm(clusters()).apply(one, Situation(one))
    BatchNorm([x for x, _ in clusters()]).apply(other, Situation(other))
    BatchNorm([{"x": x} for x, _ in clusters()]).apply(third, Situation(third))
    assert torch.equal(one.norm.running_var, other.norm.running_var)
    assert torch.equal(one.norm.running_var, third.norm.running_var)


def test_batch_norm_says_so_when_the_model_has_none() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.LayerNorm(4), nn.BatchNorm1d(4, track_running_stats=False))
    before = deepcopy(model.state_dict())
    record = BatchNorm(clusters()).apply(model, Situation(model))
    assert "nothing to estimate" in record.notes[0]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_batch_norm_leaves_a_layer_that_no_batch_reaches() -> None:
    class Forked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.resting = nn.BatchNorm1d(6), nn.BatchNorm1d(6)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    model = Forked()
    model.resting.running_mean.fill_(3.0)
    record = BatchNorm(clusters()).apply(model, Situation(model))
    assert torch.equal(model.resting.running_mean, torch.full((6,), 3.0))
    assert record.options["layers"] == 1
    assert "1 of the batch norms" in record.notes[0]


@pytest.mark.parametrize("batches", [None, []])
def test_batch_norm_refuses_when_there_are_no_batches(batches: list[Tensor] | None) -> None:
    model = classifier()
    before = deepcopy(model.state_dict())
    with pytest.raises(PenjingError, match="PJ311"):
        BatchNorm(batches).apply(model, Situation(model))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_batch_norm_puts_statistics_back_when_a_batch_does_not_fit() -> None:
    model = classifier()
    before = deepcopy(model.state_dict())
    with pytest.raises(PenjingError, match="does not run on batch 1") as caught:
        BatchNorm([torch.randn(8, 6), torch.randn(8, 5)]).apply(model, Situation(model))
    assert caught.value.code == "PJ310"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.norm.momentum == 0.1
