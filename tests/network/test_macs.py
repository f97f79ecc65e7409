"""Multiply-accumulates and parameters, against torch's counter, closed forms and models really cut."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from penjing.network import Network, trace
from penjing.surgery.graph import rewrite
from penjing.surgery.selection import Selection
from tests.zoo.registry import ENTRIES

ENTRY = {entry.name: entry for entry in ENTRIES}
# Convolutions, products of matrices and attention: all that torch's counter counts, too.
COUNTED = (
    "bilinear_cnn",
    "dcgan_generator",
    "densenet",
    "einsum_attention",
    "gpt",
    "hf_bert",
    "hf_gpt2",
    "hf_llama",
    "maxvit",
    "mlp_mixer",
    "mobilenet_v3",
    "non_local",
    "regnet",
    "resnext",
    "shufflenet_v2",
    "swin",
    "unet",
    "video_resnet",
    "vit",
)
CUT = (
    "densenet",
    "einsum_attention",
    "gpt",
    "hf_llama",
    "lstm_classifier",
    "mobilenet_v3",
    "resnet_groupnorm",
    "shufflenet_v2",
    "unet",
    "vit",
)


@cache
def network(name: str) -> Network:
    return trace(ENTRY[name].build(), ENTRY[name].inputs())


@pytest.fixture(autouse=True)
def _attention_as_products_of_matrices() -> Iterator[None]:
    """torch counts attention only where it is written out; the fast path of encoders hides even that."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    with sdpa_kernel(SDPBackend.MATH):
        yield
    torch.backends.mha.set_fastpath_enabled(before)


def counted(net: Network, model: nn.Module) -> int:
    """What torch counts when the model runs: two operations to a multiply-accumulate."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net.call.copy().run(model)
    assert counter.get_total_flops() % 2 == 0
    return counter.get_total_flops() // 2


def plans(net: Network, count: int) -> Iterator[dict[str, tuple[int, ...]]]:
    draw = random.Random(0)
    for _ in range(count):
        kept: dict[str, tuple[int, ...]] = {}
        for axis in net.prunable:
            if draw.random() < 0.7:
                kept[axis.name] = tuple(sorted(draw.sample(range(axis.size), draw.randint(1, axis.size))))
        yield kept


@pytest.mark.parametrize("name", COUNTED)
def test_macs_are_those_that_torch_counts(name: str) -> None:
    net = network(name)
    assert net.macs == counted(net, net.model)
    assert net.macs > 0


@pytest.mark.parametrize("name", sorted({*COUNTED, *CUT}))
def test_parameters_are_those_of_the_module(name: str) -> None:
    net = network(name)
    assert net.parameters == net.parameters_at({}) == sum(p.numel() for p in net.model.parameters())


@pytest.mark.parametrize("name", CUT)
def test_sizes_at_any_counts_are_those_of_the_model_that_is_really_cut(name: str) -> None:
    net = network(name)
    for kept in plans(net, 4):
        counts = {axis: len(units) for axis, units in kept.items()}
        model = rewrite(net, Selection(net, kept)).eval()
        assert net.parameters_at(counts) == sum(p.numel() for p in model.parameters())
        assert net.macs_at(counts) == trace(model, net.call).macs
        if name in COUNTED:
            assert net.macs_at(counts) == counted(net, model)


@pytest.mark.parametrize("name", CUT)
def test_sizes_shrink_with_every_unit(name: str) -> None:
    net = network(name)
    for axis in net.prunable:
        smaller = {axis.name: axis.size - 1}
        assert net.parameters_at(smaller) < net.parameters
        assert net.macs_at(smaller) <= net.macs


@pytest.mark.parametrize("name", CUT)
def test_operators_give_the_shapes_that_the_graph_has(name: str) -> None:
    net = network(name)
    nodes = {node.name: node for node in net.trace.graph.nodes}
    for operator in net.operators:
        value = nodes[operator.name].meta["val"]
        values = value if isinstance(value, list | tuple) else [value]
        assert operator.outputs_at({}) == tuple(tuple(v.shape) for v in values if isinstance(v, Tensor))
    assert net.macs == sum(operator.macs_at({}) for operator in net.operators)


def test_operators_name_the_axes_that_change_their_shapes() -> None:
    net = network("unet")
    for operator in net.operators:
        for axis in net.prunable:
            counts = {axis.name: axis.size - 1}
            now, then = operator.inputs_at({}), operator.inputs_at(counts)
            changed = now != then or operator.outputs_at({}) != operator.outputs_at(counts)
            assert changed == (axis.name in operator.axes), (operator.name, axis.name)


# -- closed forms, for what torch does not count, or does not call by that name


class Applied(nn.Module):
    """One function of the input and of a parameter."""

    def __init__(self, function: Callable[..., Any], *shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.weights = nn.ParameterList(torch.randn(shape) for shape in shapes)
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x, *self.weights)


N, A, B, C, D = 2, 3, 5, 7, 11
FORMS: dict[str, tuple[nn.Module, tuple[int, ...], int]] = {
    "linear": (nn.Linear(A, B), (N, C, A), N * C * A * B),
    "mm": (Applied(torch.mm, (A, B)), (N, A), N * A * B),
    "bmm": (Applied(torch.bmm, (N, B, C)), (N, A, B), N * A * B * C),
    "mv": (Applied(torch.mv, (A,)), (B, A), A * B),
    "dot": (Applied(torch.dot, (A,)), (A,), A),
    "matmul-vector": (Applied(torch.matmul, (A,)), (N, B, A), N * B * A),
    "matmul-broadcast": (Applied(torch.matmul, (B, C)), (N, D, A, B), N * D * A * B * C),
    "addmm": (Applied(lambda x, w, b: torch.addmm(b, x, w), (A, B), (B,)), (N, A), N * A * B),
    "addmv": (Applied(lambda x, w, b: torch.addmv(b, x, w), (A,), (B,)), (B, A), A * B),
    "baddbmm": (Applied(lambda x, w, b: b.baddbmm(x, w), (N, B, C), (A, C)), (N, A, B), N * A * B * C),
    "addbmm": (Applied(lambda x, w, b: b.addbmm(x, w), (N, B, C), (A, C)), (N, A, B), N * A * B * C),
    "tensordot": (Applied(lambda x, w: torch.tensordot(x, w, 2), (B, C, D)), (A, B, C), A * B * C * D),
    "inner": (Applied(torch.inner, (B, A)), (N, A), N * A * B),
    "einsum-pair": (Applied(lambda x, w: torch.einsum("nb,bc->nc", x, w), (B, C)), (N, B), N * B * C),
    "einsum-one": (Applied(lambda x: torch.einsum("nab->nba", x)), (N, A, B), 0),
    "einsum-outer": (Applied(lambda x, w: torch.einsum("na,b->nab", x, w), (B,)), (N, A), 0),
    "einsum-implicit": (Applied(lambda x, w: torch.einsum("ij,jk", x, w), (B, C)), (A, B), A * B * C),
    "einsum-ellipsis": (
        Applied(lambda x, w: torch.einsum("...ab,bc->...ac", x, w), (B, C)),
        (N, D, A, B),
        N * D * A * B * C,
    ),
    "einsum-three": (
        Applied(lambda x, w, v: torch.einsum("nai,oij,nbj->noab", x, w, v), (D, B, C), (N, A, C)),
        (N, A, B),
        N * A * B * D * C + N * D * A * C * A,
    ),
    "conv-grouped": (nn.Conv2d(4, 6, 3, groups=2), (N, 4, 5, 5), N * 6 * 9 * 2 * 9),
    "conv-transposed": (nn.ConvTranspose1d(4, 6, 3, stride=2, groups=2), (N, 4, 5), N * 4 * 5 * 3 * 3),
    "conv-same": (nn.Conv1d(A, B, 3, padding="same"), (N, A, 8), N * B * 8 * A * 3),
    "attention": (
        Applied(lambda x, k, v: F.scaled_dot_product_attention(x, k, v), (N, A, C, D), (N, A, C, 4)),
        (N, A, B, D),
        N * A * B * C * (D + 4),
    ),
    "bilinear": (Applied(F.bilinear, (N, B), (C, A, B)), (N, A), N * C * B * (A + 1)),
    "rnn": (nn.RNN(A, B, num_layers=2), (N, C, A), N * C * (B * A + 3 * B * B)),
    "gru": (nn.GRU(A, B, bidirectional=True), (N, C, A), N * C * 2 * 3 * B * (A + B)),
    "lstm-projected": (nn.LSTM(A, B, proj_size=4), (N, C, A), N * C * (4 * B * (A + 4) + B * 4)),
    "lstm-cell": (nn.LSTMCell(A, B), (N, A), N * 4 * B * (A + B)),
    "elementwise": (Applied(lambda x, w: (x * w).relu().softmax(-1), (A,)), (N, A), 0),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize(("model", "shape", "macs"), FORMS.values(), ids=FORMS)
def test_macs_follow_the_closed_form(model: nn.Module, shape: tuple[int, ...], macs: int) -> None:
    assert trace(model.eval(), torch.randn(shape)).macs == macs
