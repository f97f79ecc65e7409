from __future__ import annotations

import torch
from torch import Tensor, nn

from penjing.devices import Stairs
from penjing.devices.widths import alignments, sample
from penjing.network import trace
from tests.devices.models import Residual, image

STAIRS = Stairs(conv_out=16, conv_in=16, conv_even=4, depthwise_even=4, linear_out=16)


def test_axis_of_a_convolution_is_kept_at_its_block() -> None:
    net = trace(Residual(64, 128).eval(), image())
    assert alignments(net, STAIRS) == {"stem.0": 16, "inner": 16}


def test_axis_is_kept_at_anything_when_the_device_has_no_steps() -> None:
    assert set(alignments(trace(Residual(64, 128).eval(), image()), Stairs()).values()) == {1}


def test_short_axis_keeps_widths_to_choose_from_but_stays_even() -> None:
    net = trace(Residual(24, 8).eval(), image())
    assert alignments(net, STAIRS) == {"stem.0": 4, "inner": 4}


class Heads(nn.Module):
    """Four heads of width 8."""

    def __init__(self) -> None:
        super().__init__()
        self.inward, self.outward = nn.Linear(12, 32), nn.Linear(32, 12)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.inward(x).view(x.shape[0], 4, 8)
        return self.outward((heads * heads.softmax(-1)).flatten(1))


def test_units_of_several_features_need_a_smaller_multiple() -> None:
    net = trace(Heads().eval(), torch.randn(2, 12))
    steps = {net.axis(name).size: step for name, step in alignments(net, Stairs(linear_out=16)).items()}
    assert steps[4] == 1  # 4 heads of 8 features: two heads would fill a step of 16, but leave little choice
    assert alignments(net, Stairs(linear_out=8))[next(a.name for a in net.prunable if a.size == 4)] == 1


def test_sample_begins_with_the_original_and_repeats_for_a_seed() -> None:
    net = trace(Residual(64, 128).eval(), image())
    steps = alignments(net, STAIRS)
    chosen = sample(net, steps, networks=9, odd=True, seed=3)
    assert chosen[0] == {}
    assert len(chosen) == 9
    assert chosen == sample(net, steps, networks=9, odd=True, seed=3)
    assert chosen != sample(net, steps, networks=9, odd=True, seed=4)


def test_sample_keeps_to_steps_and_sizes() -> None:
    net = trace(Residual(60, 128).eval(), image())
    for counts in sample(net, {"stem.0": 4, "inner": 16}, networks=30, odd=False, seed=0)[1:]:
        assert counts["stem.0"] % 4 == 0
        assert counts["inner"] % 16 == 0
        assert 4 <= counts["stem.0"] <= 60
        assert 16 <= counts["inner"] <= 128


def test_sample_goes_from_nearly_all_to_little() -> None:
    net = trace(Residual(64, 128).eval(), image())
    widths = [counts["inner"] for counts in sample(net, {"inner": 1}, networks=30, odd=False, seed=0)[1:]]
    assert max(widths) > 110
    assert min(widths) < 40


def test_sample_tries_odd_widths_too_when_they_matter() -> None:
    net = trace(Residual(64, 128).eval(), image())
    steps = {"stem.0": 16, "inner": 16}
    odd = [
        c for c in sample(net, steps, networks=13, odd=True, seed=0)[1:] if any(n % 16 for n in c.values())
    ]
    assert len(odd) == 3
    assert not any(n % 16 for c in sample(net, steps, networks=13, odd=False, seed=0) for n in c.values())


class Halved(nn.Module):
    """Its two branches are cut from one: their axes must stay equally long."""

    def __init__(self) -> None:
        super().__init__()
        self.both, self.out = nn.Linear(6, 40), nn.Linear(20, 3)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.both(x).chunk(2, dim=-1)
        return self.out(torch.tanh(left) * torch.sigmoid(right))


def test_sample_keeps_balanced_axes_equal() -> None:
    net = trace(Halved().eval(), torch.randn(2, 6))
    names = [axis.name for axis in net.prunable]
    for counts in sample(net, dict.fromkeys(names, 1), networks=10, odd=False, seed=0)[1:]:
        for group in net.balanced:
            assert len({counts[name] for name in group}) == 1
