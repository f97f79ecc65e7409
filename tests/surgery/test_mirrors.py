"""Sizes that layers of torch.nn keep beside their weights: after a cut, `repr` tells the truth."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from penjing.surgery.mirrors import MIRRORS, mirrored
from tests.surgery.shrink import own, seeded, shrink


class First(nn.Module):
    """The outputs of a recurrent layer without its state."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layer(x)[0]
        return found


class Twice(nn.Module):
    """A layer of two inputs."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layer(x, x.tanh())
        return found


class Ids(nn.Module):
    """Numbers of words, made from real inputs."""

    def forward(self, x: Tensor) -> Tensor:
        return (x.abs() * 3).long().clamp(max=10)


@dataclass(frozen=True)
class Case:
    """A layer between two others, what goes in, and what `repr` must say of it once every axis is halved."""

    layer: Callable[[], nn.Module]
    expected: str
    before: Callable[[], nn.Module] = nn.Identity
    after: Callable[[], nn.Module] = nn.Identity
    shape: tuple[int, ...] = (2, 6)


def conv(n: int, *channels: int, **options: Any) -> Callable[[], nn.Module]:
    return lambda: getattr(nn, f"Conv{n}d")(*channels, 1, **options)


def flat(n: int) -> dict[str, Any]:
    """A convolution before and one after, over n dimensions of space."""
    return {"before": conv(n, 3, 8), "after": conv(n, 8, 2), "shape": (2, 3, *(4,) * n)}


LINEAR: dict[str, Any] = {"before": lambda: nn.Linear(6, 8), "after": lambda: nn.Linear(8, 2)}

CASES: dict[str, Case] = {
    "Linear": Case(lambda: nn.Linear(8, 8), "Linear(in_features=4, out_features=4, bias=True)", **LINEAR),
    **{
        f"Conv{n}d": Case(
            lambda n=n: getattr(nn, f"Conv{n}d")(8, 8, 3, padding=1),  # type: ignore[misc]
            f"Conv{n}d(4, 4, kernel_size={(3,) * n}, stride={(1,) * n}, padding={(1,) * n})",
            **flat(n),
        )
        for n in (1, 2, 3)
    },
    "grouped Conv2d": Case(
        lambda: nn.Conv2d(8, 8, 1, groups=4),
        "Conv2d(2, 2, kernel_size=(1, 1), stride=(1, 1), groups=2)",
        **flat(2),
    ),
    "depthwise Conv2d": Case(
        lambda: nn.Conv2d(8, 8, 1, groups=8),
        "Conv2d(4, 4, kernel_size=(1, 1), stride=(1, 1), groups=4)",
        **flat(2),
    ),
    **{
        f"ConvTranspose{n}d": Case(
            lambda n=n: getattr(nn, f"ConvTranspose{n}d")(8, 8, 2),  # type: ignore[misc]
            f"ConvTranspose{n}d(4, 4, kernel_size={(2,) * n}, stride={(1,) * n})",
            **flat(n),
        )
        for n in (1, 2, 3)
    },
    **{
        f"{kind}Norm{n}d": Case(
            lambda n=n, kind=kind: getattr(nn, f"{kind}Norm{n}d")(8),  # type: ignore[misc]
            f"{kind}Norm{n}d(4, ",
            **flat(n),
        )
        for n in (1, 2, 3)
        for kind in ("Batch", "Instance")
    },
    "BatchNorm2d without weights": Case(
        lambda: nn.BatchNorm2d(8, affine=False),
        "BatchNorm2d(4, ",
        **flat(2),
    ),
    "BatchNorm2d without weights and statistics": Case(
        lambda: nn.BatchNorm2d(8, affine=False, track_running_stats=False),
        "BatchNorm2d(4, ",
        **flat(2),
    ),
    "GroupNorm": Case(lambda: nn.GroupNorm(4, 8), "GroupNorm(2, 2, ", **flat(2)),
    "GroupNorm without weights": Case(
        lambda: nn.GroupNorm(4, 8, affine=False),
        "GroupNorm(2, 2, ",
        **flat(2),
    ),
    "LayerNorm": Case(lambda: nn.LayerNorm(8), "LayerNorm((4,), ", **LINEAR),
    "LayerNorm without weights": Case(
        lambda: nn.LayerNorm(8, elementwise_affine=False),
        "LayerNorm((4,), ",
        **LINEAR,
    ),
    "RMSNorm": Case(lambda: nn.RMSNorm(8), "RMSNorm((4,), ", **LINEAR),
    "PReLU": Case(lambda: nn.PReLU(8), "PReLU(num_parameters=4)", **LINEAR),
    "PReLU of one number": Case(nn.PReLU, "PReLU(num_parameters=1)", **LINEAR),
    "LSTM": Case(
        lambda: First(nn.LSTM(8, 6, 2, batch_first=True)),
        "LSTM(4, 3, num_layers=2, batch_first=True)",
        lambda: nn.Linear(6, 8),
        lambda: nn.Linear(6, 2),
        (2, 5, 6),
    ),
    "bidirectional LSTM with projections": Case(
        lambda: First(nn.LSTM(8, 6, proj_size=4, bidirectional=True, batch_first=True)),
        "LSTM(4, 3, proj_size=2, batch_first=True, bidirectional=True)",
        lambda: nn.Linear(6, 8),
        lambda: nn.Linear(8, 2),
        (2, 5, 6),
    ),
    "GRU": Case(
        lambda: First(nn.GRU(8, 6, batch_first=True)),
        "GRU(4, 3, batch_first=True)",
        lambda: nn.Linear(6, 8),
        lambda: nn.Linear(6, 2),
        (2, 5, 6),
    ),
    "RNN": Case(
        lambda: First(nn.RNN(8, 6, batch_first=True)),
        "RNN(4, 3, batch_first=True)",
        lambda: nn.Linear(6, 8),
        lambda: nn.Linear(6, 2),
        (2, 5, 6),
    ),
    "LSTMCell": Case(
        lambda: First(nn.LSTMCell(8, 6)), "LSTMCell(4, 3)", lambda: nn.Linear(6, 8), lambda: nn.Linear(6, 2)
    ),
    "GRUCell": Case(
        lambda: nn.GRUCell(8, 6), "GRUCell(4, 3)", lambda: nn.Linear(6, 8), lambda: nn.Linear(6, 2)
    ),
    "RNNCell": Case(
        lambda: nn.RNNCell(8, 6), "RNNCell(4, 3)", lambda: nn.Linear(6, 8), lambda: nn.Linear(6, 2)
    ),
    "Bilinear": Case(
        lambda: Twice(nn.Bilinear(8, 8, 6)),
        "Bilinear(in1_features=4, in2_features=4, out_features=3, bias=True)",
        lambda: nn.Linear(6, 8),
        lambda: nn.Linear(6, 2),
    ),
    "Embedding": Case(
        lambda: nn.Embedding(11, 8),
        "Embedding(11, 4)",
        Ids,
        lambda: nn.Linear(8, 2),
    ),
    "EmbeddingBag": Case(
        lambda: nn.EmbeddingBag(11, 8),
        "EmbeddingBag(11, 4, mode='mean')",
        Ids,
        lambda: nn.Linear(8, 2),
    ),
    "Unflatten": Case(
        lambda: nn.Sequential(nn.Unflatten(1, (4, 2)), nn.Softmax(1), nn.Flatten(1)),
        "Unflatten(dim=1, unflattened_size=(2, 1))",
        **LINEAR,
    ),
}


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("name", CASES)
def test_layer_tells_the_truth_after_a_cut(name: str) -> None:
    case = CASES[name]
    model = own(
        shrink(
            seeded(lambda: nn.Sequential(case.before(), case.layer(), case.after())), torch.randn(case.shape)
        )
    )
    assert case.expected in repr(model), repr(model)


def sizes(layer: nn.Module) -> dict[str, Any]:
    """What the constructor of a layer was given, as far as it keeps it."""
    names = inspect.signature(type(layer).__init__).parameters
    return {name: vars(layer)[name] for name in names if name in vars(layer) and name != "bias"}


@pytest.mark.parametrize("name", CASES)
def test_layer_tells_the_truth_before_a_cut(name: str) -> None:
    """What is read off the weights is what the constructor was told."""
    for layer in CASES[name].layer().modules():
        told = sizes(layer)
        for attribute, value in mirrored(layer).items():
            assert told.get(attribute, value) == value


def test_every_kind_of_layer_in_the_table_has_a_case() -> None:
    shown = [layer for case in CASES.values() for layer in case.layer().modules()]
    elsewhere = {nn.MultiheadAttention, nn.Transformer}  # in test_attention.py
    assert {kind for kind in MIRRORS if any(isinstance(layer, kind) for layer in shown)} == set(
        MIRRORS
    ) - elsewhere


UNTOLD = {
    nn.Transformer: "in test_attention.py",
    nn.MultiheadAttention: "in test_attention.py",
    nn.LocalResponseNorm: "its size is a window",
    nn.ChannelShuffle: "its groups are solved from the call",
    nn.Unflatten: "its sizes are solved from the call",
}
"""Layers with integers that no weight tells, or that are shown elsewhere."""


def test_every_layer_of_torch_that_keeps_a_width_is_in_the_table() -> None:
    """A layer whose constructor takes a number of channels or features keeps it: none may be missing."""
    words = re.compile(
        r"channels|features|num_embeddings|embedding_dim|hidden_size|input_size|embed_dim|d_model"
    )
    layers = {
        kind
        for kind in vars(nn).values()
        if inspect.isclass(kind) and issubclass(kind, nn.Module)
        if not kind.__name__.startswith("Lazy") and "Loss" not in kind.__name__
        if any(words.search(name) for name in inspect.signature(kind.__init__).parameters)
    }
    blocks = {nn.TransformerEncoderLayer, nn.TransformerDecoderLayer}  # keep layers, not numbers
    told = {kind for kind in layers if any(issubclass(kind, known) for known in MIRRORS)}
    assert layers - told - UNTOLD.keys() - blocks == set()


def test_subclass_of_a_layer_tells_the_truth() -> None:
    class Scaled(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input) * 0.5

    model = own(
        shrink(seeded(lambda: nn.Sequential(Scaled(6, 8), nn.ReLU(), Scaled(8, 2))), torch.randn(2, 6))
    )
    assert "Scaled(in_features=6, out_features=4, bias=True)" in repr(model)


def test_attention_tells_the_truth_of_its_heads() -> None:
    from tests.surgery.test_attention import PARTS, SelfAttention, those

    for part, (heads, width) in {"heads": (2, 4), "widths": (4, 2), "all": (2, 2)}.items():
        model = own(shrink(seeded(lambda: SelfAttention(True)), torch.randn(5, 3, 6), those(PARTS[part])))
        assert model.attention.num_heads == heads
        assert model.attention.head_dim == width
        assert model.attention.embed_dim == (8 if part == "all" else 16)
