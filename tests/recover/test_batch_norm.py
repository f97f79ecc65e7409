from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from penjing.errors import PenjingError
from penjing.recover import BatchNorm, Situation
from tests.recover.models import Classifier, classifier, clusters


def shifted(seed: int = 0) -> Classifier:
    """A model whose batch norm has the statistics of another one."""
    model = classifier(seed)
    with torch.no_grad():
        model.norm.running_mean.fill_(4.0)
        model.norm.running_var.fill_(30.0)
    return model


def trained() -> Classifier:
    """The same model, with the statistics of its data."""
    model = classifier()
    with torch.no_grad():
        seen = torch.cat([model.first(x) for x, _ in clusters()])
        model.norm.running_mean.copy_(seen.mean(0))
        model.norm.running_var.copy_(seen.var(0))
    return model


def test_batch_norm_estimates_the_average_over_batches() -> None:
    model, data = shifted(), clusters()
    record = BatchNorm(data).apply(model, Situation(trained()))
    assert record.options["deviation_after"] < record.options["deviation_before"]
    with torch.no_grad():
        seen = [model.first(x).double() for x, _ in data]
    mean = torch.stack([x.mean(0) for x in seen]).mean(0)
    variance = torch.stack([x.var(0, unbiased=True) for x in seen]).mean(0)
    torch.testing.assert_close(model.norm.running_mean, mean.float(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.norm.running_var, variance.float(), rtol=1e-4, atol=1e-5)


def test_batch_norm_changes_nothing_but_its_statistics() -> None:
    model = shifted()
    model.train()
    model.drop.eval()
    before, momentum = deepcopy(model.state_dict()), model.norm.momentum
    modes = [module.training for module in model.modules()]
    BatchNorm(clusters()).apply(model, Situation(trained()))
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}
    assert model.norm.momentum == momentum
    assert [module.training for module in model.modules()] == modes


def test_batch_norm_takes_the_calibration_data_when_given_none() -> None:
    one, other = shifted(), shifted()
    BatchNorm(clusters()).apply(one, Situation(trained()))
    record = BatchNorm().apply(other, Situation(trained(), calibration=clusters()))
    assert torch.equal(one.norm.running_mean, other.norm.running_mean)
    assert not torch.equal(one.norm.running_mean, shifted().norm.running_mean)
    assert (record.options["layers"], record.options["batches"]) == (1, 12)


def test_batch_norm_takes_harm_back_with_a_note() -> None:
    original, model = trained(), trained()
    elsewhere = [x + 20 for x, _ in clusters()]
    before = deepcopy(model.state_dict())
    record = BatchNorm(elsewhere).apply(model, Situation(original))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    (note,) = record.notes
    assert note.startswith("taken back")
    assert "BatchNorm(force=True)" in note
    assert record.options["deviation_after"] > record.options["deviation_before"]


def test_batch_norm_keeps_harm_when_it_is_forced_and_says_so() -> None:
    original, model = trained(), trained()
    record = BatchNorm([x + 20 for x, _ in clusters()], force=True).apply(model, Situation(original))
    assert not torch.equal(model.norm.running_mean, original.norm.running_mean)
    assert record.notes[0].startswith("harm")
    assert record.options["force"] is True


def test_batch_norm_takes_inputs_without_targets_and_named_inputs() -> None:
    one, other, third = shifted(), shifted(), shifted()
    BatchNorm(clusters()).apply(one, Situation(trained()))
    BatchNorm([x for x, _ in clusters()]).apply(other, Situation(trained()))
    BatchNorm([{"x": x} for x, _ in clusters()]).apply(third, Situation(trained()))
    assert not torch.equal(one.norm.running_var, shifted().norm.running_var)
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
