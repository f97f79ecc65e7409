"""Data that are made up: plausible, the same every time, and good enough to reconstruct with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import penjing as pj
from penjing.errors import PenjingError
from penjing.recover.synthetic import Synthetic
from penjing.recover.synthetic.matching import matched
from penjing.recover.synthetic.patterns import coloured_noise, fractals


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Images(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.norm = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16)
        self.last = nn.Linear(16, 4)
        with torch.no_grad():
            self.norm.running_mean.copy_(0.3 * torch.randn(16))
            self.norm.running_var.copy_(0.1 + 0.3 * torch.rand(16))

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.last(self.norm(self.stem(x)).relu().mean((2, 3)))
        return scores


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.kinds, self.last = nn.Embedding(50, 8), nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.kinds(self.table(ids)).relu() * mask[..., None]
        scores: Tensor = self.last(x.mean(1))
        return scores


def leaves(batch: Any) -> list[Tensor]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(batch) if isinstance(leaf, Tensor)]


@pytest.mark.parametrize("make", [coloured_noise, fractals])
def test_patterns_have_mean_zero_and_variance_one_and_differ(make: Any) -> None:
    found = make(5, 3, (24, 20), generator())
    assert found.shape == (5, 3, 24, 20)
    flat = found.flatten(1)
    torch.testing.assert_close(flat.mean(1), torch.zeros(5), atol=1e-4, rtol=0)
    torch.testing.assert_close(flat.std(1), torch.ones(5), atol=1e-3, rtol=0)
    assert not torch.allclose(found[0], found[1])
    assert torch.equal(found, make(5, 3, (24, 20), generator()))


@pytest.mark.parametrize("space", [(64,), (32, 32), (8, 8, 8)])
def test_noise_has_more_of_low_frequencies(space: tuple[int, ...]) -> None:
    found = coloured_noise(64, 1, space, generator())
    dims = tuple(range(2, 2 + len(space)))
    power = torch.fft.fftn(found, dim=dims).abs().square().mean((0, 1)).flatten().numpy()
    grids = np.meshgrid(*(np.fft.fftfreq(size) for size in space), indexing="ij")
    frequency = np.sqrt(sum(np.square(grid) for grid in grids)).flatten()
    low, high = power[(frequency > 0) & (frequency < 0.15)].mean(), power[frequency > 0.3].mean()
    assert low > 5 * high


def test_matching_brings_batch_statistics_nearer_and_leaves_the_model_alone() -> None:
    model = Images().eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.randn(16, 3, 12, 12, generator=generator())

    def apart(inputs: Tensor) -> float:
        with torch.no_grad():
            mean = model.stem(inputs).mean((0, 2, 3))
        return float((mean - model.norm.running_mean).square().sum())

    (found,) = matched(model, [x], lambda moved: model(moved[0]), 40)
    assert apart(found) < 0.5 * apart(x)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert not model.norm._forward_pre_hooks


def test_batches_are_as_many_as_asked_and_the_same_every_time() -> None:
    example = 3 + 2 * torch.randn(1, 3, 12, 12, generator=generator())
    model = Images()
    one = Synthetic(samples=40, batch=16, steps=3).batches(model, example)
    torch.rand(3)
    other = Synthetic(samples=40, batch=16, steps=3).batches(model, example)
    assert [batch.shape for batch in one] == [(16, 3, 12, 12)] * 3
    assert all(torch.equal(x, y) for x, y in zip(one, other, strict=True))
    assert not torch.equal(one[0], one[1])
    assert not torch.equal(
        one[0], Synthetic(samples=40, batch=16, steps=3, seed=1).batches(model, example)[0]
    )
    assert model.training


def test_values_have_the_mean_and_spread_of_the_example_where_it_has_any() -> None:
    model = Images()
    like = Synthetic(steps=0).batches(model, 3 + 2 * torch.randn(2, 3, 12, 12, generator=generator()))
    assert float(torch.cat(like).mean()) == pytest.approx(3, abs=0.3)
    assert float(torch.cat(like).std()) == pytest.approx(2, abs=0.3)
    blank = Synthetic(steps=0).batches(model, torch.zeros(2, 3, 12, 12))
    assert float(torch.cat(blank).std()) == pytest.approx(1, abs=0.05)


def test_token_ids_come_from_the_whole_vocabulary_and_masks_stay() -> None:
    example = {"ids": torch.zeros(1, 12, dtype=torch.long), "mask": torch.ones(1, 12, dtype=torch.long)}
    batches = Synthetic(samples=64, batch=32).batches(Tokens(), example)
    assert [batch["ids"].shape for batch in batches] == [(32, 12), (32, 12)]
    ids = torch.cat([batch["ids"] for batch in batches])
    assert (int(ids.min()), int(ids.max())) == (0, 49)
    assert all(bool((batch["mask"] == 1).all()) for batch in batches)


def test_model_of_a_fixed_number_of_samples_is_given_that() -> None:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.reshape(2, 12)

    batches = Synthetic(samples=6).batches(Fixed(), torch.randn(2, 3, 4))
    assert [batch.shape for batch in batches] == [(2, 3, 4)] * 3


@pytest.mark.parametrize("options", [{"samples": 0}, {"batch": 0}, {"steps": -1}])
def test_options_out_of_range_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(PenjingError, match="PJ313"):
        Synthetic(**options)


def test_prune_works_without_data_and_says_what_it_worked_with() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(1024, 4),
    )
    result = pj.prune(
        model,
        torch.randn(1, 3, 12, 12),
        budget="macs=0.5x",
        device="macs",
        data=pj.Synthetic(samples=64, steps=5),
        recover=pj.Reconstruct(),
    )
    assert (
        result.report.criterion == "obs, the best that data allow, on 64 synthetic inputs, for want of data"
    )
    (record,) = result.report.recovery
    assert record.options["deviation_after"] < record.options["deviation_before"]
