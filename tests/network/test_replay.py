"""A network run operator by operator gives what the model gives, and keeps no more than it must."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from penjing.errors import PenjingError
from penjing.network import trace
from penjing.network.call import Call
from penjing.network.replay import Replay, by_shape, peak_bytes
from tests.equivalence.half import run
from tests.zoo.registry import ENTRIES

NAMED = {entry.name: entry for entry in ENTRIES}
SOME = ["resnet_basic", "shufflenet_v2", "lstm_classifier", "hf_gpt2", "multi_output", "unet"]


def image(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def convolutional() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 2),
    ).eval()


@pytest.mark.parametrize("name", [name for name in SOME if name in NAMED])
@torch.no_grad()
def test_replay_gives_what_the_model_gives(name: str) -> None:
    entry = NAMED[name]
    net = trace(entry.build().eval(), entry.inputs())
    replay = Replay(net, net.call)
    found = [leaf for leaf in replay.whole() if isinstance(leaf, Tensor)]
    wanted = run(net.model.eval(), entry.inputs())
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)
    assert not [node for node in replay.values if node.op == "call_function"]


@torch.no_grad()
def test_replay_leaves_the_inputs_as_they_were() -> None:
    class InPlace(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mul_(2).relu_()

    x = image(2, 3)
    before = x.clone()
    net = trace(InPlace(), x)
    Replay(net, Call.of(net.model, x)).whole()
    assert torch.equal(x, before)


@torch.no_grad()
def test_replay_draws_the_same_random_numbers_every_time_and_leaves_those_of_others() -> None:
    class Noisy(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x + torch.randn_like(x), torch.randn_like(x)

    net = trace(Noisy(), image(2, 3))
    torch.manual_seed(5)
    one, other = (Replay(net, net.call).whole() for _ in range(2))
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(1))
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])
    assert not torch.equal(one[0] - image(2, 3), one[1])


def test_batches_are_sorted_by_shape_and_traced_on_it() -> None:
    model = convolutional()
    net = trace(model, image(2, 3, 8, 8))
    batches: list[Any] = [image(2, 3, 8, 8), (image(4, 3, 9, 9), torch.zeros(4)), image(4, 3, 9, 9)]
    shaped, notes = by_shape(net, batches)
    assert [len(one.calls) for one in shaped] == [2, 1]
    assert shaped[1].net is net
    assert notes == []
    with torch.no_grad():
        for one in shaped:
            for call in one.calls:
                torch.testing.assert_close(Replay(one.net, call).whole()[0], call.run(model))


def test_shapes_beyond_the_eighth_are_left_out_with_a_note() -> None:
    net = trace(convolutional(), image(2, 3, 8, 8))
    shaped, notes = by_shape(net, [image(1, 3, 5 + n, 5) for n in range(9)])
    assert len(shaped) == 8
    assert "1 of the batches are not used" in notes[0]


def test_batch_of_the_wrong_shape_type_or_structure_is_refused() -> None:
    net = trace(convolutional(), image(2, 3, 8, 8))
    with pytest.raises(PenjingError) as caught:
        by_shape(net, [(1, 2, 3)])
    assert caught.value.code == "PJ310"
    with pytest.raises(PenjingError, match=r"PJ310|PJ102"):
        by_shape(net, [image(2, 4, 8, 8)])


def test_nan_is_named_by_batch_and_sample() -> None:
    net = trace(convolutional(), image(2, 3, 8, 8))
    bad = image(4, 3, 8, 8)
    bad[2, 1, 3, 3] = torch.nan
    with pytest.raises(PenjingError, match="batch 1 of the calibration data holds NaN") as caught:
        by_shape(net, [image(2, 3, 8, 8), bad])
    assert caught.value.code == "PJ320"
    assert "sample 2" in str(caught.value)


def test_infinity_passes_for_masks_are_made_of_it() -> None:
    net = trace(convolutional(), image(2, 3, 8, 8))
    shaped, _ = by_shape(net, [torch.full((2, 3, 8, 8), -torch.inf)])
    assert len(shaped[0].calls) == 1


def test_empty_data_are_refused() -> None:
    with pytest.raises(PenjingError) as caught:
        by_shape(trace(convolutional(), image(2, 3, 8, 8)), [])
    assert caught.value.code == "PJ311"


class Expands(nn.Module):
    """A token is put before every sample, as ViTs do: expanded to one sample it has the samples' axis."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 2)
        self.token, self.places = nn.Parameter(torch.randn(1, 1, 6)), nn.Parameter(torch.randn(1, 4, 6))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cat([self.token.expand(x.shape[0], -1, -1), self.first(x)], 1) + self.places
        return self.last(y[:, 0] + y.mean(1))


def test_batches_of_more_samples_are_used_where_a_token_is_expanded_to_them() -> None:
    net = trace(Expands().eval(), image(1, 3, 4))
    shaped, notes = by_shape(net, [image(5, 3, 4), image(1, 3, 4)])
    assert notes == []
    assert sorted(call.args[0].shape[0] for one in shaped for call in one.calls) == [1, 5]


class Reshapes(nn.Module):
    """Mixes samples with features where there are several: nothing of it can be cut then."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return self.last(y if len(x) == 1 else y.t().reshape(len(x), 6))


def test_batches_on_which_other_axes_can_be_cut_are_left_out_with_a_note() -> None:
    net = trace(Reshapes().eval(), image(1, 4))
    shaped, notes = by_shape(net, [image(5, 4)])
    assert shaped == []
    assert notes == ["1 of the batches are not used: the model works otherwise on their shapes"]


class Decides(nn.Module):
    """Goes another way where the mean is negative."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        way = self.one if x.mean() > 0 else self.other
        return functional.relu(way(x))


def test_batches_that_take_another_way_through_the_code_are_left_out_with_a_note() -> None:
    torch.manual_seed(0)
    net = trace(Decides(), torch.ones(2, 4))
    assert net.trace.specialised
    shaped, notes = by_shape(net, [torch.ones(2, 4), -torch.ones(2, 4)])
    assert [len(one.calls) for one in shaped] == [1]
    assert "goes another way" in notes[0]
    assert by_shape(net, [-torch.ones(2, 4)])[0] == []


def test_peak_is_the_most_that_is_held_at_once() -> None:
    x = torch.randn(2, 8)
    chain = nn.Sequential(*(nn.Linear(8, 8) for _ in range(5)))
    # A layer's input and output, of 2 x 8 numbers of 4 bytes each.
    assert peak_bytes(trace(chain, x)) == 2 * 2 * 8 * 4
