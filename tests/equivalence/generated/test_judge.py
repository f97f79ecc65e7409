"""The judge on networks whose answer is known: what it removes, what it refuses, and what then is left."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.equivalence.generated import channels, images, tokens
from tests.equivalence.generated.cutting import agrees, outputs
from tests.equivalence.generated.removal import Judge, Removal
from tests.equivalence.generated.replay import rerun
from tests.equivalence.generated.tape import Tape, record

Named = set[tuple[str, int, int]]
IMAGE, TOKENS = (2, 3, 6, 6), (2, 6, 5)


def network(*layers: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*layers).eval()


def judged(model: nn.Module, shape: tuple[int, ...], seeds: Named) -> tuple[Tape, Removal | str]:
    tape = record(model, (torch.randn(shape, generator=torch.Generator().manual_seed(1)),))
    removal = Judge(tape).removal({(tape.parameters[name], dim, index) for name, dim, index in seeds})
    return tape, removal


def removed(model: nn.Module, shape: tuple[int, ...], *seeds: tuple[str, int, int]) -> Named:
    tape, removal = judged(model, shape, set(seeds))
    assert isinstance(removal, Removal), removal
    return removal.slices(tape, set(tape.parameters))


def refused(model: nn.Module, shape: tuple[int, ...], *seeds: tuple[str, int, int]) -> str:
    _, removal = judged(model, shape, set(seeds))
    assert isinstance(removal, str)
    return removal


def rows(name: str, *indices: int) -> Named:
    return {(f"{name}.{leaf}", 0, index) for leaf in ("weight", "bias") for index in indices}


def columns(name: str, *indices: int) -> Named:
    return {(f"{name}.weight", 1, index) for index in indices}


class Flat(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


class ChannelConvolution(nn.Module):
    """ECA: a convolution that slides over the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.conv(x.mean((2, 3)).unsqueeze(1)).squeeze(1)
        return x * weights.sigmoid()[:, :, None, None]


def test_judge_removes_a_hidden_channel_with_its_row_and_its_column() -> None:
    model = network(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3))
    assert removed(model, IMAGE, ("0.weight", 0, 2)) == rows("0", 2) | columns("2", 2)
    assert removed(model, IMAGE, ("2.weight", 1, 5)) == rows("0", 5) | columns("2", 5)


def test_judge_refuses_inputs_and_outputs() -> None:
    model = network(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3))
    assert refused(model, IMAGE, ("0.weight", 1, 0)) == "reaches an input"
    assert refused(model, IMAGE, ("2.weight", 0, 0)) == "reaches an output"


def test_judge_ties_what_a_residual_adds() -> None:
    model = network(nn.Conv2d(3, 8, 3), images.Bottleneck(8, 8, 1), nn.Conv2d(8, 4, 1))
    gone = removed(model, IMAGE, ("0.weight", 0, 1))
    norm = {(f"1.bn3.{leaf}", 0, 1) for leaf in ("weight", "bias", "running_mean", "running_var")}
    assert gone == rows("0", 1) | columns("1.conv1", 1) | {("1.conv3.weight", 0, 1)} | norm | columns("2", 1)


def test_judge_follows_a_shuffle_by_view_and_transpose() -> None:
    model = network(nn.Conv2d(3, 6, 1), images.Shuffle(2, "view"), nn.Conv2d(6, 4, 1))
    # channels 0 1 2 | 3 4 5 become 0 3 1 4 2 5; one of each group goes, for the groups to stay equal
    assert removed(model, IMAGE, ("0.weight", 0, 1), ("0.weight", 0, 4)) == rows("0", 1, 4) | columns(
        "2", 2, 3
    )


def test_judge_knows_that_one_unit_of_a_product_cannot_go_alone() -> None:
    model = network(nn.Linear(5, 6), tokens.HeadNorm(2, 3), nn.Linear(6, 4))
    whole_width = rows("0", 1, 4) | columns("2", 1, 4) | {("1.norm.weight", 0, 1), ("1.norm.bias", 0, 1)}
    assert removed(model, TOKENS, ("1.norm.weight", 0, 1)) == whole_width
    whole_head = rows("0", 0, 1, 2) | columns("2", 0, 1, 2) | {("1.scale", 0, 0)}
    assert removed(model, TOKENS, ("1.scale", 0, 0)) == whole_head


def test_judge_takes_all_pixels_of_a_channel_from_a_flattened_linear_layer() -> None:
    model = network(nn.Conv2d(3, 4, 1), Flat(), nn.Linear(4 * 36, 3))
    assert removed(model, IMAGE, ("0.weight", 0, 3)) == rows("0", 3) | columns("2", *range(108, 144))


def test_judge_follows_a_constant_table_and_renumbers_it() -> None:
    model = network(nn.Linear(5, 4), channels.Permute((2, 0, 3, 1), -1), nn.Linear(4, 3))
    table = {("1.table", 0, 1)}
    assert removed(model, TOKENS, ("0.weight", 0, 0)) == rows("0", 0) | table | columns("2", 1)
    assert removed(model, TOKENS, ("2.weight", 1, 1)) == table | columns("2", 1)  # the row may stay, unread


def test_judge_takes_both_halves_of_a_gate() -> None:
    for gate in (channels.Glu(-1), channels.ChunkGate("chunk", -1), channels.ChunkGate("slice", -1)):
        model = network(nn.Linear(5, 8), gate, nn.Linear(4, 3))
        assert removed(model, TOKENS, ("0.weight", 0, 1)) == rows("0", 1, 5) | columns("2", 1)


def test_judge_takes_one_channel_of_every_group_of_a_grouped_convolution() -> None:
    model = network(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 1, groups=2), nn.Conv2d(6, 4, 1))
    assert removed(model, IMAGE, ("1.weight", 1, 2)) == rows("0", 2, 5) | columns("1", 2)
    assert isinstance(refused(model, IMAGE, ("0.weight", 0, 2)), str)


def test_judge_removes_channels_under_norms_and_softmax() -> None:
    model = network(
        nn.Conv2d(3, 8, 1), images.ChannelsLastNorm(8), images.ResponseNorm(8), nn.Conv2d(8, 4, 1)
    )
    gone = removed(model, IMAGE, ("0.weight", 0, 3))
    vectors = {("1.norm.weight", 0, 3), ("1.norm.bias", 0, 3), ("2.gamma", 1, 3), ("2.beta", 1, 3)}
    assert gone == rows("0", 3) | vectors | columns("3", 3)


def test_judge_removes_query_and_key_width_together_and_value_width_with_the_projection() -> None:
    model = network(nn.Linear(5, 6), tokens.EinsumAttention(6, 2, 3), nn.Linear(6, 4))
    assert removed(model, TOKENS, ("1.wq", 2, 1)) == {("1.wq", 2, 1), ("1.wk", 2, 1)}
    assert removed(model, TOKENS, ("1.wv", 2, 0)) == {("1.wv", 2, 0), ("1.wo", 1, 0)}
    assert removed(model, TOKENS, ("1.wo", 0, 1)) == {("1.wo", 0, 1), *((f"1.w{w}", 1, 1) for w in "qkv")}


@pytest.mark.parametrize(
    ("layer", "seed"),
    [
        pytest.param(ChannelConvolution(), ("0.weight", 0, 1), id="convolution-over-channels"),
        pytest.param(tokens.FusedAttention(8, 2, 2, "unbind"), None, id="query-of-a-fused-layer"),
    ],
)
def test_judge_refuses_what_cannot_go(layer: nn.Module, seed: tuple[str, int, int] | None) -> None:
    if seed:
        assert "cannot work" in refused(network(nn.Conv2d(3, 8, 1), layer, nn.Conv2d(8, 4, 1)), IMAGE, seed)
    else:
        model = network(nn.Linear(5, 8), layer, nn.Linear(8, 4))
        assert isinstance(refused(model, TOKENS, *(("1.qkv.weight", 0, row) for row in range(4))), str)


@pytest.mark.parametrize(
    ("build", "shape", "name"),
    [
        (lambda: network(nn.Conv2d(3, 8, 3), nn.GroupNorm(1, 8), nn.Conv2d(8, 4, 3)), IMAGE, "0.weight"),
        (lambda: network(nn.Linear(5, 8), tokens.Multihead(8, 2), nn.Linear(8, 4)), TOKENS, "0.weight"),
        (
            lambda: network(nn.Conv2d(3, 8, 1), images.ChannelAttention(), nn.Conv2d(8, 4, 1)),
            IMAGE,
            "0.weight",
        ),
    ],
)
def test_judge_leaves_a_network_that_a_person_would_write_smaller(
    build: Callable[[], nn.Module], shape: tuple[int, ...], name: str
) -> None:
    """Oracle: the same layers at their new sizes, with what is left of the weights."""
    model = build()
    tape, removal = judged(model, shape, {(name, 0, 2)})
    assert isinstance(removal, Removal), removal
    left = rerun(tape, removal.removed, removal.fits)
    state = {key: value.detach() for key, value in model.named_parameters()}
    for parameter, dim, index in sorted(removal.slices(tape, set(state)), reverse=True):
        keep = [i for i in range(state[parameter].shape[dim]) if i != index]
        state[parameter] = state[parameter].index_select(dim, torch.tensor(keep))
    x = tape.values[tape.inputs[0]]
    state = {key: value.double() for key, value in state.items()}
    wanted = _BY_HAND[type(model[1])](x, state)  # type: ignore[index]
    assert agrees(left, [wanted])


def _group_norm(x: Tensor, s: dict[str, Tensor]) -> Tensor:
    x = F.conv2d(x, s["0.weight"], s["0.bias"])
    return F.conv2d(F.group_norm(x, 1, s["1.weight"], s["1.bias"]), s["2.weight"], s["2.bias"])


def _multihead(x: Tensor, s: dict[str, Tensor]) -> Tensor:
    x = F.linear(x, s["0.weight"], s["0.bias"])
    q, k, v = F.linear(x, s["1.attention.in_proj_weight"], s["1.attention.in_proj_bias"]).chunk(3, -1)
    heads = [part.unflatten(-1, (2, 4)).transpose(1, 2) for part in (q, k, v)]
    y = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
    y = F.linear(y, s["1.attention.out_proj.weight"], s["1.attention.out_proj.bias"])
    return F.linear(y, s["2.weight"], s["2.bias"])


def _channel_attention(x: Tensor, s: dict[str, Tensor]) -> Tensor:
    x = F.conv2d(x, s["0.weight"], s["0.bias"])
    flat = x.flatten(2)
    a = (flat @ flat.mT).softmax(-1)
    return F.conv2d(s["1.beta"] * (a @ flat).view_as(x) + x, s["2.weight"], s["2.bias"])


_BY_HAND = {
    nn.GroupNorm: _group_norm,
    tokens.Multihead: _multihead,
    images.ChannelAttention: _channel_attention,
}


def test_judge_replays_a_network_of_which_nothing_is_removed() -> None:
    model = network(nn.Linear(5, 8), tokens.GroupedAttention(8, 2, 2, 3, "expand"), nn.Linear(8, 4))
    x = torch.randn(TOKENS)
    assert agrees(rerun(record(model, (x,)), {}, {}), outputs(model, (x,)))
