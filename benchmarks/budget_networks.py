"""The networks that budgets are tried on: of every kind, untrained but for the demo's."""

from __future__ import annotations

from collections.abc import Callable

import torch
from cost_networks import networks
from torch import Tensor, nn
from torch.nn import functional

from penjing.demo import load_network

Case = tuple[nn.Module, Tensor]


class UNet(nn.Module):
    """Three resolutions with skips, 32 to 128 channels, for images of 64 x 64."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2, self.middle = _twice(3, 32), _twice(32, 64), _twice(64, 128)
        self.grow2, self.up2 = nn.ConvTranspose2d(128, 64, 2, 2), _twice(128, 64)
        self.grow1, self.up1 = nn.ConvTranspose2d(64, 32, 2, 2), _twice(64, 32)
        self.out = nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.down1(x)
        two = self.down2(functional.max_pool2d(one, 2))
        y = self.grow2(self.middle(functional.max_pool2d(two, 2)))
        y = self.grow1(self.up2(torch.cat([y, two], 1)))
        return self.out(self.up1(torch.cat([y, one], 1)))


class Recogniser(nn.Module):
    """Convolutions over a spectrogram, then two bidirectional GRU layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv1d(40, 128, 5, padding=2), nn.BatchNorm1d(128), nn.ReLU(),
            nn.Conv1d(128, 128, 5, 2, 2), nn.BatchNorm1d(128), nn.ReLU(),
        )  # fmt: skip
        self.gru = nn.GRU(128, 128, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(256, 32)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.gru(self.conv(x).transpose(1, 2))
        return self.head(y)


class Logits(nn.Module):
    """A model of transformers whose output is its first tensor."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x, return_dict=False)[0]


def _twice(inputs: int, outputs: int) -> nn.Sequential:
    def conv(i: int) -> list[nn.Module]:
        return [nn.Conv2d(i, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    return nn.Sequential(*conv(inputs), *conv(outputs))


def bert() -> Case:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=1000, hidden_size=192, num_hidden_layers=4, num_attention_heads=6, intermediate_size=768
    )
    return Logits(BertModel(config)), torch.randint(1000, (1, 64))


def llama() -> Case:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=1000,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=2,
        use_cache=False,
    )
    return Logits(LlamaForCausalLM(config)), torch.randint(1000, (1, 64))


BUILDERS: dict[str, Callable[[], Case]] = {
    "demo": lambda: (load_network(), torch.rand(1, 1, 28, 28)),
    "resnet": lambda: networks()["resnet"],
    "mobilenet": lambda: networks()["mobilenet"],
    "vit": lambda: networks()["vit"],
    "unet": lambda: (UNet(), torch.randn(1, 3, 64, 64)),
    "recogniser": lambda: (Recogniser(), torch.randn(1, 40, 200)),
    "bert": bert,
    "llama": llama,
}
