"""What is written as plain layers computes the same, and what cannot be is refused by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from penjing.devices.hls.restate import LAYERS, restated
from penjing.errors import PenjingError
from penjing.network import Call


class Function(nn.Module):
    """A function of the input and of some layers."""

    def __init__(self, compute: Callable[..., Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.compute = compute
        self.inner = nn.ModuleDict(layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.compute(x, self.inner)


def conv(i: int, o: int, **options: int) -> nn.Conv2d:
    return nn.Conv2d(i, o, 3, **options)


def norm(kind: type[nn.Module], count: int) -> nn.Module:
    made = kind(count)
    for tensor in made.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    return made


IMAGES = (2, 3, 8, 8)
CASES: dict[str, tuple[tuple[int, ...], nn.Module]] = {
    "conv2d": (IMAGES, conv(3, 4, stride=2, padding=1)),
    "padding of both ends alike": (IMAGES, nn.Conv2d(3, 4, 3, padding="same")),
    "padding of one end more": (IMAGES, nn.Conv2d(3, 4, (2, 3), padding="same")),
    "padding of one end more, one dimension": ((2, 3, 8), nn.Conv1d(3, 4, 4, padding="same")),
    "no padding by name": (IMAGES, nn.Conv2d(3, 4, 3, padding="valid")),
    "conv1d": ((2, 3, 8), nn.Conv1d(3, 4, 3, bias=False)),
    "linear": ((2, 6), nn.Linear(6, 3)),
    "batch_norm": (IMAGES, norm(nn.BatchNorm2d, 3)),
    "norm after a convolution": (IMAGES, nn.Sequential(conv(3, 4), norm(nn.BatchNorm2d, 4))),
    "norm after a linear layer": ((2, 6), nn.Sequential(nn.Linear(6, 3), norm(nn.BatchNorm1d, 3))),
    "norm of what another reads": (
        IMAGES,
        Function(
            lambda x, m: (y := m["conv"](x)) + m["norm"](y), conv=conv(3, 4), norm=norm(nn.BatchNorm2d, 4)
        ),
    ),
    "add": (IMAGES, Function(lambda x, m: x + m["conv"](x), conv=conv(3, 3, padding=1))),
    "add of a constant": (IMAGES, Function(lambda x, m: x + 1.5)),
    "sub": (IMAGES, Function(lambda x, m: (x - 0.25) - x * 2)),
    "mul": (IMAGES, Function(lambda x, m: x * torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1))),
    "a constant that comes first": (IMAGES, Function(lambda x, m: torch.full((3, 1, 1), 2.0) * x)),
    "div": (IMAGES, Function(lambda x, m: x / 4)),
    "cat": (IMAGES, Function(lambda x, m: torch.cat([x, m["conv"](x), x], 1), conv=conv(3, 2, padding=1))),
    "relu": (IMAGES, Function(lambda x, m: functional.relu(x))),
    "leaky_relu": (IMAGES, nn.LeakyReLU(0.2)),
    "elu": (IMAGES, nn.ELU(0.7)),
    "sigmoid": (IMAGES, nn.Sigmoid()),
    "tanh": (IMAGES, nn.Tanh()),
    "softmax": ((2, 6), nn.Softmax(-1)),
    "max_pool1d": ((2, 3, 8), nn.MaxPool1d(2)),
    "max_pool2d": (IMAGES, nn.MaxPool2d(2)),
    "padded pooling of what is positive": (IMAGES, nn.Sequential(nn.ReLU(), nn.MaxPool2d(3, padding=1))),
    "padded pooling in one dimension": ((2, 3, 8), nn.Sequential(nn.Sigmoid(), nn.MaxPool1d(2, padding=1))),
    "padded average": (IMAGES, nn.AvgPool2d((4, 2), padding=(2, 1))),
    "avg_pool1d": ((2, 3, 8), nn.AvgPool1d(4)),
    "avg_pool2d": (IMAGES, nn.AvgPool2d(2)),
    "adaptive_avg_pool1d": ((2, 3, 8), nn.AdaptiveAvgPool1d(1)),
    "adaptive_avg_pool2d": (IMAGES, nn.AdaptiveAvgPool2d(1)),
    "mean": (IMAGES, Function(lambda x, m: x.mean((2, 3)))),
    "flatten": (IMAGES, nn.Flatten()),
    "view": (IMAGES, Function(lambda x, m: x.view(x.shape[0], -1))),
    "reshape": (IMAGES, Function(lambda x, m: x.permute(0, 1, 2, 3).reshape(-1, 192))),
}  # fmt: skip


def test_every_layer_has_a_case() -> None:
    assert set(LAYERS) <= set(CASES)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", [name for name in CASES if name != "reshape"])
def test_plain_layers_compute_the_same(name: str) -> None:
    torch.manual_seed(0)
    shape, model = CASES[name]
    x = torch.randn(shape)
    with torch.no_grad():
        made = restated(model.eval(), Call((x,)))
        assert torch.allclose(made(x), model(x), atol=1e-5)
    assert all("." not in key for key, _ in made.named_children())


def test_norms_are_folded_where_nobody_else_reads() -> None:
    def norms(name: str) -> int:
        shape, model = CASES[name]
        made = restated(model.eval(), Call((torch.randn(shape),)))
        return sum(isinstance(one, nn.BatchNorm1d | nn.BatchNorm2d) for one in made.children())

    assert norms("norm after a convolution") == norms("norm after a linear layer") == 0
    assert norms("norm of what another reads") == 1


REFUSED: dict[str, tuple[tuple[int, ...], nn.Module, str]] = {
    "an operator": (IMAGES, nn.GELU(), "gelu"),
    "attention": ((2, 4, 8), nn.MultiheadAttention(8, 2), ""),
    "two outputs": (IMAGES, Function(lambda x, m: (x, x + 1)), "2 outputs"),  # type: ignore[arg-type, return-value]
    "a partial mean": (IMAGES, Function(lambda x, m: x.mean(1)), "mean"),
    "a reshape": (IMAGES, Function(lambda x, m: x.reshape(2, 3, 64)), "reshape"),
    "a pooling to four": (IMAGES, nn.AdaptiveAvgPool2d(2), "pooling"),
    "a softmax over channels": (IMAGES, nn.Softmax(1), "softmax"),
    "a sum of two shapes": (
        IMAGES, Function(lambda x, m: x + m["pool"](x), pool=nn.AdaptiveAvgPool2d(1)), "two shapes",
    ),
    "a constant along the rows": (
        (2, 8, 4, 8), Function(lambda x, m: x + m["bias"].bias, bias=nn.Linear(1, 8)), "constant of shape",
    ),
    "a constant less what is computed": (
        IMAGES, Function(lambda x, m: torch.sub(torch.ones(3, 1, 1), x)), "constant by what is computed",
    ),
    "padding that could win over shifted values": (
        IMAGES, nn.Sequential(nn.ReLU(), Function(lambda x, m: x - 1 + 0.5), nn.MaxPool2d(2, padding=1)),
        "may be negative",
    ),
    "padding that could win over added constants": (
        IMAGES, nn.Sequential(nn.ReLU(), Function(lambda x, m: x + -1.0), nn.MaxPool2d(2, padding=1)),
        "may be negative",
    ),
    "a map of constants": (IMAGES, Function(lambda x, m: x + torch.ones(8, 8)), "constant of shape"),
    "a dilated convolution": (IMAGES, nn.Conv2d(3, 4, 3, dilation=2), "dilation"),
    "a linear layer at positions": ((2, 3, 6), nn.Linear(6, 3), "several positions"),
    "overlapping windows": (IMAGES, nn.MaxPool2d(3, stride=2), "overlap"),
    "padding that could win": (IMAGES, nn.MaxPool2d(2, padding=1), "may be negative"),
    "an average without its padding": (
        IMAGES, nn.AvgPool2d(2, padding=1, count_include_pad=False), "leaves its padding out",
    ),
    "a pooling rounded up": (IMAGES, nn.MaxPool2d(3, ceil_mode=True), "rounded up"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_hls4ml_lacks_is_refused_by_name(name: str) -> None:
    shape, model, word = REFUSED[name]
    x = torch.randn(shape)
    call = Call((x, x, x)) if isinstance(model, nn.MultiheadAttention) else Call((x,))
    with pytest.raises(PenjingError, match="no hls4ml form") as caught:
        restated(model.eval(), call)
    assert caught.value.code == "PJ402"
    assert word in caught.value.because
