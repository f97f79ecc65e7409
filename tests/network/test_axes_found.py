"""Which axes are found: golden texts that a person can review, and what each kind of layer must give."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from penjing.network import Axis, Network, trace
from penjing.network.solve import tensor_named
from tests.zoo.registry import ENTRIES

GOLDEN = Path(__file__).parents[1] / "golden" / "networks"
SHOWN = (
    "alexnet",
    "densenet",
    "fusion_dict",
    "gated_conv",
    "gpt",
    "hf_gpt2",
    "hf_llama",
    "lstm_classifier",
    "resnet_groupnorm",
    "shufflenet_v2",
    "unet",
    "vit",
)
ENTRY = {entry.name: entry for entry in ENTRIES}


@cache
def network(name: str) -> Network:
    return trace(ENTRY[name].build(), ENTRY[name].inputs())


@pytest.mark.parametrize("name", SHOWN)
def test_network_reads_as_its_golden_text(name: str, request: pytest.FixtureRequest) -> None:
    golden = GOLDEN / f"{name}.txt"
    found = str(network(name)) + "\n"
    if request.config.getoption("--rewrite-golden"):
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(found, encoding="utf-8")
    assert found == golden.read_text(encoding="utf-8")


def test_golden_texts_are_those_that_are_compared() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(SHOWN)


@pytest.mark.parametrize("name", SHOWN)
def test_members_label_every_index_of_the_tensors_they_name(name: str) -> None:
    net = network(name)
    assert len({axis.name for axis in net.axes}) == len(net.axes)
    assert [axis.frozen is None for axis in net.axes] == sorted(
        (a.frozen is None for a in net.axes), reverse=True
    )
    for axis in net.axes:
        for member in axis.members:
            assert len(member.units) == tensor_named(net.model, member.tensor).shape[member.dim]
            assert set(member.units) - {-1} == set(range(axis.size)), (axis.name, member.tensor)


# -- one kind of layer after the other; what is expected is written down from what the layer computes


def labels(axis: Axis) -> dict[tuple[str, int], tuple[int, ...]]:
    return {(member.tensor, member.dim): member.units for member in axis.members}


def over(*sizes: int, axis: int) -> tuple[int, ...]:
    """For every index of a dimension that merges `sizes`, slowest first, its index along one of them."""
    grid = torch.arange(sizes[axis]).reshape([-1 if place == axis else 1 for place in range(len(sizes))])
    return tuple(grid.expand(sizes).flatten().tolist())


def nowhere(count: int) -> tuple[int, ...]:
    return (-1,) * count


def carrying(net: Network, tensor: str, dim: int = 0) -> list[Axis]:
    """The axes along one dimension of a tensor, by how fast their units change: slowest first."""
    found = [(axis, labels(axis)[tensor, dim]) for axis in net.axes if (tensor, dim) in labels(axis)]

    def run(units: Sequence[int]) -> int:
        first = next(place for place, unit in enumerate(units) if unit >= 0)
        return next(
            (place - first for place in range(first, len(units)) if units[place] != units[first]), len(units)
        )

    return [axis for axis, units in sorted(found, key=lambda pair: -run(pair[1]))]


class Chain(nn.Module):
    """Layers one after the other, with functions between them."""

    def __init__(self, *steps: Any) -> None:
        super().__init__()
        self.layers = nn.ModuleList(step for step in steps if isinstance(step, nn.Module))
        self.steps = [step if not isinstance(step, nn.Module) else None for step in steps]

    def forward(self, x: Tensor) -> Tensor:
        layers = iter(self.layers)
        for step in self.steps:
            x = next(layers)(x) if step is None else step(x)
        return x


def test_llama_has_groups_queries_and_value_width_and_rotary_freezes_the_query_key_width() -> None:
    config = LlamaConfig(
        hidden_size=24,
        intermediate_size=20,
        num_hidden_layers=1,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=4,
        vocab_size=50,
        use_cache=False,
    )
    net = trace(LlamaForCausalLM(config).eval(), {"input_ids": torch.zeros(1, 5, dtype=torch.long)})
    attention = "model.layers.0.self_attn"
    groups, queries, width = carrying(net, f"{attention}.q_proj.weight")
    assert (groups.size, queries.size, width.size) == (
        2,
        3,
        2,
    )  # the rotation ties the two halves of the width
    assert groups.frozen is None
    assert queries.frozen is None
    assert "inv_freq" in str(width.frozen)
    assert labels(width)[f"{attention}.q_proj.weight", 0] == over(2, 3, 2, 2, axis=3)
    assert labels(width)[f"{attention}.k_proj.weight", 0] == over(2, 2, 2, axis=2)
    values = carrying(net, f"{attention}.v_proj.weight")[1]
    assert (values.size, values.frozen) == (4, None)
    assert labels(groups) == {
        (f"{attention}.q_proj.weight", 0): over(2, 3, 4, axis=0),
        (f"{attention}.k_proj.weight", 0): over(2, 4, axis=0),
        (f"{attention}.v_proj.weight", 0): over(2, 4, axis=0),
        (f"{attention}.o_proj.weight", 1): over(2, 3, 4, axis=0),
    }
    assert labels(queries) == {
        (f"{attention}.q_proj.weight", 0): over(2, 3, 4, axis=1),
        (f"{attention}.o_proj.weight", 1): over(2, 3, 4, axis=1),
    }
    assert labels(values) == {
        (f"{attention}.v_proj.weight", 0): over(2, 4, axis=1),
        (f"{attention}.o_proj.weight", 1): over(2, 3, 4, axis=2),
    }


def test_gpt2_splits_its_fused_projection_into_heads_and_two_widths() -> None:
    config = GPT2Config(n_embd=12, n_layer=1, n_head=3, vocab_size=40, n_positions=16, use_cache=False)
    net = trace(GPT2LMHeadModel(config).eval(), {"input_ids": torch.zeros(1, 5, dtype=torch.long)})
    fused, project = "transformer.h.0.attn.c_attn", "transformer.h.0.attn.c_proj.weight"
    heads, *widths = carrying(net, f"{fused}.weight", 1)
    assert heads.name == f"{fused}:heads"
    query_key = next(axis for axis in widths if (project, 0) not in labels(axis))
    value = next(axis for axis in widths if (project, 0) in labels(axis))
    assert (heads.size, query_key.size, value.size) == (3, 4, 4)
    assert all(axis.frozen is None for axis in (heads, query_key, value))
    each, inner = over(3, 4, axis=0), over(3, 4, axis=1)
    both = {(f"{fused}.weight", 1), (f"{fused}.bias", 0)}
    assert labels(heads) == {**dict.fromkeys(both, each * 3), (project, 0): each}
    assert labels(query_key) == dict.fromkeys(both, inner * 2 + nowhere(12))
    assert labels(value) == {**dict.fromkeys(both, nowhere(24) + inner), (project, 0): inner}


def test_channel_shuffle_ties_what_it_interleaves() -> None:
    """(2 groups x 4 channels) becomes (4 x 2): channel c of group g is read at 2 c + g."""
    net = trace(
        Chain(
            nn.Conv2d(3, 8, 1),
            lambda x: x.unflatten(1, (2, 4)).transpose(1, 2).flatten(1, 2),
            nn.Conv2d(8, 5, 1),
        ).eval(),
        torch.randn(1, 3, 4, 4),
    )
    group, channel = carrying(net, "layers.0.weight")
    assert (group.size, channel.size) == (2, 4)
    assert labels(group)["layers.1.weight", 1] == over(4, 2, axis=1)
    assert labels(channel)["layers.1.weight", 1] == over(4, 2, axis=0)
    assert group.frozen is None
    assert channel.frozen is None


def test_gated_linear_unit_ties_value_and_gate() -> None:
    net = trace(Chain(nn.Linear(5, 12), F.glu, nn.Linear(6, 2)).eval(), torch.randn(3, 5))
    (axis,) = net.prunable
    assert axis.size == 6
    assert labels(axis) == {
        ("layers.0.weight", 0): tuple(range(6)) * 2,
        ("layers.0.bias", 0): tuple(range(6)) * 2,
        ("layers.1.weight", 1): tuple(range(6)),
    }


def test_lstm_ties_its_hidden_width_across_gates_layers_and_recurrence() -> None:
    net = trace(
        Chain(nn.LSTM(4, 6, num_layers=2), lambda y: y[0], nn.Linear(6, 2)).eval(), torch.randn(3, 2, 4)
    )
    (hidden,) = net.prunable
    gates, plain = over(4, 6, axis=1), tuple(range(6))
    tensors = [
        f"layers.0.{name}_l{n}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh") for n in (0, 1)
    ]
    assert labels(hidden) == {
        **{(tensor, 0): gates for tensor in tensors},
        ("layers.0.weight_hh_l0", 1): plain,
        ("layers.0.weight_ih_l1", 1): plain,
        ("layers.0.weight_hh_l1", 1): plain,
        ("layers.1.weight", 1): plain,
    }
    gate = carrying(net, "layers.0.weight_hh_l1")[0]
    assert (gate.size, gate.frozen) == (4, "gates are not units")


def test_group_norm_has_groups_and_a_width_inside_of_them() -> None:
    net = trace(
        Chain(nn.Conv2d(3, 12, 1), nn.GroupNorm(3, 12), nn.Conv2d(12, 5, 1)).eval(), torch.randn(1, 3, 4, 4)
    )
    groups, inside = carrying(net, "layers.1.weight")
    assert (groups.size, inside.size) == (3, 4)
    assert labels(groups)["layers.0.weight", 0] == over(3, 4, axis=0)
    assert labels(inside)["layers.2.weight", 1] == over(3, 4, axis=1)
    assert groups.frozen is None
    assert inside.frozen is None


def test_flattened_channels_reach_the_linear_layer_once_for_every_position() -> None:
    net = trace(Chain(nn.Conv2d(3, 7, 1), nn.Flatten(), nn.Linear(7 * 6, 5)).eval(), torch.randn(1, 3, 2, 3))
    (axis,) = net.prunable
    assert labels(axis) == {
        ("layers.0.weight", 0): tuple(range(7)),
        ("layers.0.bias", 0): tuple(range(7)),
        ("layers.2.weight", 1): over(7, 2, 3, axis=0),
    }
    frozen = {axis.frozen for axis in carrying(net, "layers.2.weight", 1) if axis.frozen}
    assert frozen == {"positions in space are not units"}


def test_concatenation_lays_axes_side_by_side() -> None:
    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right, self.head = nn.Linear(4, 3), nn.Linear(4, 5), nn.Linear(11, 2)

        def forward(self, x: Tensor) -> Tensor:
            left = self.left(x)
            return self.head(torch.cat([left, self.right(x), left], 1))

    net = trace(Joined().eval(), torch.randn(2, 4))
    assert labels(net.axis("left"))["head.weight", 1] == (0, 1, 2, *nowhere(5), 0, 1, 2)
    assert labels(net.axis("right"))["head.weight", 1] == (*nowhere(3), 0, 1, 2, 3, 4, *nowhere(3))


def test_depthwise_convolution_with_a_multiplier_follows_its_input() -> None:
    net = trace(
        Chain(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 8, 3, groups=4), nn.Conv2d(8, 5, 1)).eval(),
        torch.randn(1, 3, 5, 5),
    )
    channels, copies = carrying(net, "layers.1.weight")
    assert (channels.size, copies.size) == (4, 2)
    assert labels(channels)["layers.0.weight", 0] == tuple(range(4))
    assert labels(channels)["layers.2.weight", 1] == over(4, 2, axis=0)
    assert labels(copies)["layers.2.weight", 1] == over(4, 2, axis=1)


def test_layer_with_a_computed_weight_gives_its_axes_its_own_name() -> None:
    normed = nn.utils.parametrizations.weight_norm
    layers = normed(nn.Conv1d(3, 4, 1)), normed(nn.ConvTranspose1d(4, 5, 3)), nn.Conv1d(5, 2, 1)
    net = trace(Chain(*layers).eval(), torch.randn(2, 3, 7))
    assert [axis.name for axis in net.prunable] == ["layers.0", "layers.1"]


def test_axis_that_can_be_cut_has_its_name_before_single_units_have_theirs() -> None:
    model = Chain(nn.Linear(4, 6), lambda x: torch.cat([x[:, :1].exp(), x[:, 1:]], 1), nn.Linear(6, 2)).eval()
    net = trace(model, torch.randn(2, 4))
    assert [(axis.name, axis.size) for axis in net.prunable] == [("layers.0", 5)]


def test_output_inside_of_others_is_called_by_its_path() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Linear(4, 3), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> dict[str, Any]:
            return {"heads": {"one": self.one(x)}, "rest": [self.other(x)]}

    net = trace(Heads().eval(), torch.randn(2, 4))
    assert net.axis("one").frozen == "dimension 1 of output `heads.one`"
    assert net.axis("other").frozen == "dimension 1 of output `rest.0`"


class Trained(nn.Module):
    """An auxiliary head and a mask that are read in training only; `drop` is what no exporter follows."""

    def __init__(self, drop: bool) -> None:
        super().__init__()
        self.up, self.norm, self.head = nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)
        self.auxiliary = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
        self.mask = nn.Parameter(torch.randn(6))
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        y = self.norm(self.up(x))
        if not self.training:
            return self.head(y)
        chosen = torch.rand(len(y)) < 0.5
        if self.drop and torch.rand(()) < 2:
            chosen = chosen.logical_not()
        y = torch.where(chosen[:, None], self.mask, y)
        return self.head(y), self.auxiliary(y)


@pytest.mark.parametrize("drop", [False, True], ids=["exported", "recorded"])
def test_parameters_that_only_training_reads_are_tied_to_what_they_meet_there(drop: bool) -> None:
    model = Trained(drop).eval()
    before = deepcopy(model.state_dict())
    net = trace(model, torch.randn(4, 4))
    (axis,) = net.prunable
    assert axis.name == "up"
    assert {("auxiliary.0.weight", 1), ("mask", 0)} <= {(m.tensor, m.dim) for m in axis.members}
    assert net.axis("auxiliary.0").frozen == "no operator that depends on the inputs carries it"
    assert not any(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("model", "inputs", "tensor", "reason"),
    [
        (Chain(nn.Linear(4, 6)), torch.randn(2, 4), "layers.0.weight", "dimension 1 of output of the model"),
        (
            Chain(nn.Embedding(9, 6), nn.Linear(6, 2)),
            torch.zeros(2, dtype=torch.long),
            "layers.0.weight",
            "looked up",
        ),
        (
            Chain(nn.Linear(4, 6), lambda x: x.unbind(1)[2]),
            torch.randn(2, 4),
            "layers.0.weight",
            "one by one",
        ),
        (
            Chain(nn.Linear(4, 6), lambda x: x.cumsum(1), nn.Linear(6, 2)),
            torch.randn(2, 4),
            "layers.0.weight",
            None,
        ),
        (Chain(nn.Linear(4, 6), torch.linalg.norm), torch.randn(2, 4), "layers.0.weight", None),
    ],
    ids=["output", "lookup", "unbind", "cumsum", "norm"],
)
def test_axis_is_frozen_with_its_reason_or_free(
    model: nn.Module, inputs: Any, tensor: str, reason: str | None
) -> None:
    (axis,) = carrying(trace(model.eval(), inputs), tensor)
    assert (reason is None) == (axis.frozen is None), axis.frozen
    assert reason is None or reason in str(axis.frozen)
