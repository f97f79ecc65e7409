"""Reconstruction: what can be made up for is, what cannot is not made worse, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from penjing.errors import PenjingError
from penjing.network import Network, trace
from penjing.network.replay import by_shape
from penjing.plan import Plan
from penjing.recover import Reconstruct, RecoveryRecord, Situation, Watch
from penjing.recover.deviation import deviation
from penjing.recover.reconstruction.lockstep import Lockstep
from penjing.recover.reconstruction.walk import Walk
from penjing.surgery import cut


def noise(*shape: int, seed: int = 0, batches: int = 4) -> list[Tensor]:
    return [
        torch.randn(shape, generator=torch.Generator().manual_seed(100 * seed + n)) for n in range(batches)
    ]


def keep(net: Network, choice: dict[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
    """Kept units by the beginning of an axis' name."""
    found = {}
    for axis in net.prunable:
        for start, units in choice.items():
            if axis.name.startswith(start):
                found[axis.name] = tuple(units)
    assert len(found) == len(choice), [axis.name for axis in net.axes]
    return found


def halved(net: Network) -> dict[str, tuple[int, ...]]:
    return {axis.name: tuple(range(0, axis.size, 2)) for axis in net.prunable}


class Done:
    """A cut, and its reconstruction."""

    def __init__(
        self,
        model: nn.Module,
        data: list[Any],
        kept: dict[str, tuple[int, ...]] | None = None,
        *,
        dropped: tuple[str, ...] = (),
        step: Reconstruct | None = None,
    ) -> None:
        self.original = model.eval()
        self.net = trace(self.original, data[0])
        self.plan = Plan(kept=halved(self.net) if kept is None else kept, dropped=dropped)
        self.cut = cut(self.net, self.plan).model
        self.as_cut = deepcopy(self.cut)
        situation = Situation(self.original, calibration=data, net=self.net, plan=self.plan)
        self.record: RecoveryRecord = (step or Reconstruct()).apply(self.cut, situation)

    def deviation(self, data: list[Any]) -> float:
        return deviation(self.cut, self.original, data)


class Net(nn.Module):
    """Two convolutions with a batch norm, a residual block and a classifier."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.norm = nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.inner, self.inner_norm = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.outer, self.outer_norm = nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width)
        self.head = nn.Linear(width, 5)
        for norm in (self.norm, self.inner_norm, self.outer_norm):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias)
            nn.init.normal_(norm.running_mean, std=0.1)
            nn.init.uniform_(norm.running_var, 0.2, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        y = self.inner_norm(self.inner(x)).relu()
        x = (x + self.outer_norm(self.outer(y))).relu()
        scores: Tensor = self.head(x.mean((2, 3)))
        return scores


IMAGES = noise(16, 3, 8, 8)


def test_reconstruction_brings_outputs_nearer_on_data_it_has_not_seen() -> None:
    done = Done(Net(), IMAGES)
    unseen = noise(16, 3, 8, 8, seed=9)
    assert done.deviation(unseen) < 0.5 * deviation(done.as_cut, done.original, unseen)
    assert done.record.options["deviation_after"] < done.record.options["deviation_before"]
    assert done.record.options["layers"] == 4
    assert done.record.options["batches"] == 4


def test_reconstruction_changes_values_and_nothing_else() -> None:
    model = Net()
    before = deepcopy(model.state_dict())
    done = Done(model, IMAGES)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    shapes = {name: value.shape for name, value in done.as_cut.state_dict().items()}
    assert {name: value.shape for name, value in done.cut.state_dict().items()} == shapes
    assert [m.training for m in done.cut.modules()] == [m.training for m in done.as_cut.modules()]
    assert all(parameter.requires_grad for parameter in done.cut.parameters())
    assert all(parameter.grad is None for parameter in done.cut.parameters())


def test_same_seed_gives_the_same_weights_whatever_was_drawn_before() -> None:
    states = []
    for _ in range(2):
        torch.rand(7)
        states.append(Done(Net(), IMAGES, step=Reconstruct(rows=300, seed=3)).cut.state_dict())
    other = Done(Net(), IMAGES, step=Reconstruct(rows=300, seed=4)).cut.state_dict()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert any(not torch.equal(value, other[name]) for name, value in states[0].items())


def test_redundant_units_are_made_up_for_exactly() -> None:
    torch.manual_seed(1)
    first, last = nn.Linear(4, 8).double(), nn.Linear(8, 3).double()
    mixed = torch.randn(4, 4, dtype=torch.float64)
    with torch.no_grad():
        first.weight[4:], first.bias[4:] = mixed @ first.weight[:4], mixed @ first.bias[:4]
    model = nn.Sequential(first, last)
    data = [x.double() for x in noise(64, 4)]
    done = Done(model, data, {trace(model, data[0]).prunable[0].name: (0, 1, 2, 3)})
    assert done.record.options["deviation_before"] > 0.1
    assert done.deviation(noise_double(64, 4)) < 1e-6


def noise_double(*shape: int) -> list[Tensor]:
    return [x.double() for x in noise(*shape, seed=5)]


def test_error_of_a_shortcut_is_mended_by_the_branch() -> None:
    class Block(nn.Module):
        """The shortcut's channels that go are copies of what the branch can see."""

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(2)
            self.into, self.short = nn.Linear(4, 8), nn.Linear(8, 6)
            self.branch, self.out = nn.Linear(4, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            short = self.short(self.into(x))
            scores: Tensor = self.out(short + self.branch(x))
            return scores

    model = Block()
    net = trace(model, noise(64, 4)[0])
    done = Done(model, noise(64, 4), keep(net, {"into": (0, 1)}))
    # Two of four directions are lost in the shortcut; the branch reads all of them, and is linear, too.
    assert done.record.options["deviation_before"] > 0.1
    assert done.deviation(noise(64, 4, seed=7)) < 1e-4


def test_batch_norms_keep_the_function_and_take_the_statistics_of_their_inputs() -> None:
    done = Done(Net(), IMAGES)
    whole = torch.cat(IMAGES)
    done.cut.eval()
    with torch.no_grad():
        steady = done.cut(whole)
        done.cut.train()
        training = done.cut(whole)
        done.cut.eval()
    assert float((steady - training).square().mean() / steady.var()) < 1e-4


class Normed(nn.Module):
    """What a normalisation gives is seen through a fixed matrix."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm = nn.Linear(4, 8), norm
        nn.init.uniform_(norm.get_parameter("weight"), 0.5, 2)
        self.register_buffer("table", torch.randn(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.norm(self.first(x)) @ self.table
        return scores


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm, lambda width: nn.GroupNorm(1, width)])
def test_scale_and_shift_of_a_norm_are_those_of_a_line_fitted_to_the_originals_outputs(
    norm: Callable[[int], nn.Module],
) -> None:
    data = noise(128, 4)
    model = Normed(norm(8)).eval()
    net = trace(model, data[0])
    plan = Plan(kept=halved(net))
    small = cut(net, plan).model
    shaped, _ = by_shape(net, data)
    with torch.no_grad():
        Walk([Lockstep(one, plan, small) for one in shaped], small, None, 0).run(Watch())
    x = torch.cat(data)
    (kept,) = plan.kept.values()
    with torch.no_grad():
        aim = model.norm(model.first(x))[:, list(kept)].double().numpy()
        scale, shift = small.norm.weight.clone(), getattr(small.norm, "bias", None)
        got = small.norm(small.first(x)).double().numpy()
    for channel in range(len(kept)):
        ours, theirs = got[:, channel], aim[:, channel]
        if shift is None:
            best = ours * (ours @ theirs / (ours @ ours))
        else:
            best = np.polyval(np.polyfit(ours, theirs, 1), ours)
        assert np.square(theirs - ours).sum() <= 1.02 * np.square(theirs - best).sum()
    assert not torch.allclose(scale, model.norm.weight[list(kept)], rtol=1e-3)
    assert torch.equal(small.table, model.table[list(kept)])


def test_shared_and_tied_weights_are_left_alone_with_a_note() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.table, self.up, self.down = nn.Embedding(9, 8), nn.Linear(8, 16), nn.Linear(16, 8)
            self.twice, self.out = nn.Linear(8, 8), nn.Linear(8, 9, bias=False)
            self.out.weight = self.table.weight

        def forward(self, tokens: Tensor) -> Tensor:
            x = self.table(tokens)
            x = self.twice(self.twice(x + self.down(self.up(x).relu())))
            scores: Tensor = self.out(x)
            return scores

    data = [torch.randint(9, (4, 6), generator=torch.Generator().manual_seed(n)) for n in range(4)]
    model = Tied()
    done = Done(model, data, keep(trace(model, data[0]), {"up": range(0, 16, 3)}))
    assert not [note for note in done.record.notes if note.startswith("taken back")]
    for name in ("table.weight", "twice.weight", "twice.bias"):
        assert torch.equal(done.cut.state_dict()[name], done.as_cut.state_dict()[name])
    assert done.cut.out.weight is done.cut.table.weight
    assert not torch.equal(done.cut.down.weight, done.as_cut.down.weight)
    (note,) = [note for note in done.record.notes if "several places" in note]
    assert "`twice.weight`" in note
    assert "`out.weight`" in note or "`table.weight`" in note


def test_weights_computed_from_others_are_left_alone_with_a_note() -> None:
    torch.manual_seed(0)
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(4, 8))
    done = Done(nn.Sequential(normed, nn.ReLU(), nn.Linear(8, 3)), noise(64, 4))
    for name, value in done.cut.state_dict().items():
        if name.startswith("0."):
            assert torch.equal(value, done.as_cut.state_dict()[name])
    (note,) = [note for note in done.record.notes if "computed" in note]
    assert "`0.parametrizations.weight.original" in note
    assert done.record.options["layers"] == 1


def test_batches_of_several_shapes_count_together() -> None:
    data = [*noise(8, 3, 8, 8), *noise(4, 3, 6, 10)]
    done = Done(Net(), data)
    assert done.record.options["batches"] == 8
    assert done.deviation(noise(4, 3, 7, 7, seed=1)) < deviation(
        done.as_cut, done.original, noise(4, 3, 7, 7, seed=1)
    )


def test_targets_beside_the_inputs_are_not_looked_at() -> None:
    one = Done(Net(), IMAGES)
    other = cut(one.net, one.plan).model
    pairs = [(x, torch.full((16,), torch.nan)) for x in IMAGES]
    Reconstruct(pairs).apply(other, Situation(one.original, net=one.net, plan=one.plan))
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.cut.state_dict().items())


def test_network_that_is_a_rewritten_graph_is_reconstructed_too() -> None:
    class Exits(nn.Module):
        """Looks at a value to know whether to go on."""

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.more, self.out = nn.Linear(4, 16), nn.Linear(16, 16), nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x).relu()
            if h.mean() > -1:
                h = h + self.more(h).relu()
            scores: Tensor = self.out(h)
            return scores

    done = Done(Exits(), noise(64, 4))
    assert type(done.cut) is not Exits
    assert done.record.options["deviation_after"] < done.record.options["deviation_before"]


def test_nothing_is_done_where_every_batch_takes_another_way_through_the_code() -> None:
    class Decides(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other, self.out = nn.Linear(4, 8), nn.Linear(4, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            way = self.one if x.mean() > 0 else self.other
            scores: Tensor = self.out(way(x))
            return scores

    model = Decides().eval()
    net = trace(model, torch.ones(2, 4))
    plan = Plan(kept=halved(net))
    small = cut(net, plan).model
    before = deepcopy(small.state_dict())
    record = Reconstruct([-torch.ones(2, 4)]).apply(small, Situation(model, net=net, plan=plan))
    assert all(torch.equal(value, before[name]) for name, value in small.state_dict().items())
    assert "goes another way" in record.notes[0]
    assert "nothing is reconstructed" in record.notes[1]


def test_layers_of_dropped_branches_are_passed_by() -> None:
    model = Net()
    net = trace(model.eval(), IMAGES[0])
    done = Done(model, IMAGES, {}, dropped=(net.branches[0].name,))
    assert done.record.options["deviation_before"] > 0
    assert done.record.options["deviation_after"] < done.record.options["deviation_before"]
    assert done.record.options["layers"] == 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_models_of_other_types_are_reconstructed_in_theirs(dtype: torch.dtype) -> None:
    data = [x.to(dtype) for x in IMAGES]
    done = Done(Net().to(dtype), data)
    assert all(value.dtype == dtype for value in done.cut.state_dict().values() if value.is_floating_point())
    assert done.record.options["deviation_after"] < 0.5 * done.record.options["deviation_before"]


def test_too_few_samples_are_noted_with_the_number_needed() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 3))
    done = Done(model, noise(5, 4, batches=2))
    (note,) = [note for note in done.record.notes if "few samples" in note]
    assert "`2.weight` reads 32 features at 10 positions, and 64 would be needed" in note
    assert done.deviation(noise(50, 4, seed=2)) <= deviation(done.as_cut, model, noise(50, 4, seed=2))


def test_batches_beyond_the_memory_are_left_out_with_a_note() -> None:
    done = Done(Net(), IMAGES, step=Reconstruct(memory_bytes=1))
    assert done.record.options["batches"] == 1
    assert any("3 batches are left out" in note for note in done.record.notes)


def test_rows_bound_the_positions_looked_at() -> None:
    done = Done(Net(), IMAGES, step=Reconstruct(rows=40))
    assert any("at 40 positions" in note for note in done.record.notes)


def test_what_does_not_help_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    from penjing.recover.reconstruction import layer

    def harmful(halves: Any, **options: Any) -> Any:
        found = real(halves, **options)
        return type(found)(found.change - 3.0, found.offset, found.ridge, found.gain)

    real = layer.fit
    monkeypatch.setattr(layer, "fit", harmful)
    done = Done(Net(), IMAGES)
    assert all(torch.equal(value, done.as_cut.state_dict()[n]) for n, value in done.cut.state_dict().items())
    assert any(note.startswith("taken back") for note in done.record.notes)


def test_uncut_network_stays_the_function_it_is() -> None:
    model = Net()
    net = trace(model.eval(), IMAGES[0])
    done = Done(model, IMAGES, {axis.name: tuple(range(axis.size)) for axis in net.prunable})
    assert done.deviation(noise(16, 3, 8, 8, seed=4)) < 1e-8


def test_weights_are_put_back_when_something_fails_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    from penjing.recover.reconstruction import walk

    calls = []

    def failing(*given: Any) -> Any:
        calls.append(given)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return real(*given)

    real = walk.Layer
    monkeypatch.setattr(walk, "Layer", failing)
    model = Net().eval()
    net = trace(model, IMAGES[0])
    plan = Plan(kept=halved(net))
    small = cut(net, plan).model
    before = deepcopy(small.state_dict())
    with pytest.raises(KeyboardInterrupt):
        Reconstruct(IMAGES).apply(small, Situation(model, net=net, plan=plan))
    assert all(torch.equal(value, before[name]) for name, value in small.state_dict().items())


def refused(data: Any, code: str) -> str:
    model = Net().eval()
    net = trace(model, IMAGES[0])
    plan = Plan(kept=halved(net))
    small = cut(net, plan).model
    before = deepcopy(small.state_dict())
    with pytest.raises(PenjingError) as caught:
        Reconstruct().apply(small, Situation(model, calibration=data, net=net, plan=plan))
    assert caught.value.code == code
    assert all(torch.equal(value, before[name]) for name, value in small.state_dict().items())
    return str(caught.value)


def test_bad_data_are_refused_by_name() -> None:
    bad = IMAGES[1].clone()
    bad[5, 0, 0, 0] = torch.nan
    message = refused([IMAGES[0], bad], "PJ320")
    assert "batch 1" in message
    assert "sample 5" in message
    refused([], "PJ311")
    refused(None, "PJ311")


@pytest.mark.parametrize(
    "data", [[torch.randn(2, 4, 8, 8)], [(1, 2, 3)], [torch.zeros(2, 3, 8, 8, dtype=torch.long)]]
)
def test_batches_of_the_wrong_shape_or_type_are_refused(data: list[Any]) -> None:
    model = Net().eval()
    net = trace(model, IMAGES[0])
    plan = Plan(kept=halved(net))
    with pytest.raises(PenjingError, match=r"PJ310|PJ102"):
        Reconstruct(data).apply(cut(net, plan).model, Situation(model, net=net, plan=plan))


def test_step_that_is_not_told_what_was_cut_refuses() -> None:
    with pytest.raises(PenjingError) as caught:
        Reconstruct(IMAGES).apply(Net(), Situation(Net()))
    assert caught.value.code == "PJ321"


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.Sequential(
            nn.ConvTranspose2d(3, 8, 2, stride=2), nn.ReLU(), nn.ConvTranspose2d(8, 4, 3, stride=2)
        ),
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU(), nn.Conv2d(8, 4, 1)
        ),
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 12, 3, groups=4), nn.ReLU(), nn.Conv2d(12, 4, 1)
        ),
    ],
    ids=["transposed", "depthwise", "grouped"],
)
def test_convolutions_of_every_kind_are_solved(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    done = Done(build(), IMAGES)
    assert done.record.options["layers"] == len(list(done.cut.children())) // 2 + 1
    assert done.record.options["deviation_after"] < done.record.options["deviation_before"]
    assert not [note for note in done.record.notes if note.startswith("taken back")]


def test_random_operators_draw_alike_in_both_networks() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.last = nn.Linear(4, 16), nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x + torch.randn_like(x))
            scores: Tensor = self.last(functional.relu(x))
            return scores

    done = Done(Noisy(), noise(64, 4))
    assert done.record.options["deviation_after"] < 0.5 * done.record.options["deviation_before"]
