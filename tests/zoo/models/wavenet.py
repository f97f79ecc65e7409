"""WaveNet: dilated causal convolutions, gates cut from one tensor, skips over all layers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CausalConv1d(nn.Conv1d):
    def __init__(self, i: int, o: int, kernel_size: int, dilation: int = 1) -> None:
        super().__init__(i, o, kernel_size, dilation=dilation)
        self.left = (kernel_size - 1) * dilation

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (self.left, 0)))


class GatedLayer(nn.Module):
    def __init__(self, residual: int, skip: int, conditions: int, dilation: int) -> None:
        super().__init__()
        self.residual_channels = residual
        self.conv = CausalConv1d(residual, 2 * residual, 2, dilation)
        self.cond = nn.Conv1d(conditions, 2 * residual, 1, bias=False)
        self.res_skip = nn.Conv1d(residual, residual + skip, 1)

    def forward(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        in_act = self.conv(x) + self.cond(c)
        t_act = torch.tanh(in_act[:, : self.residual_channels, :])
        s_act = torch.sigmoid(in_act[:, self.residual_channels :, :])
        out = self.res_skip(t_act * s_act)
        return x + out[:, : self.residual_channels], out[:, self.residual_channels :]


class WaveNet(nn.Module):
    """Conditioned on mel frames that a transposed convolution stretches to the signal's length."""

    def __init__(self, residual: int = 16, skip: int = 24, layers: int = 4, mels: int = 8) -> None:
        super().__init__()
        self.start = CausalConv1d(1, residual, 2)
        self.upsample = nn.ConvTranspose1d(mels, mels, 8, stride=4, padding=2)
        self.layers = nn.ModuleList(GatedLayer(residual, skip, mels, 2**i) for i in range(layers))
        self.end1 = nn.Conv1d(skip, skip, 1)
        self.end2 = nn.Conv1d(skip, 32, 1)

    def forward(self, x: Tensor, mel: Tensor) -> Tensor:
        c = self.upsample(mel)
        x = self.start(x)
        skips = torch.zeros((), device=x.device)
        for layer in self.layers:
            x, skip = layer(x, c)
            skips = skips + skip
        return self.end2(F.relu(self.end1(F.relu(skips))))


def wavenet() -> nn.Module:
    return WaveNet()
