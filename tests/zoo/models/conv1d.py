"""1-d convolutions over signals: a keyword spotter, and a separator with learned masks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class M5(nn.Module):
    """Raw waveforms, ever deeper and shorter."""

    def __init__(self, n_channel: int = 16) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(1, n_channel, kernel_size=16, stride=4)
        self.bn1 = nn.BatchNorm1d(n_channel)
        self.pool1 = nn.MaxPool1d(2)
        self.conv2 = nn.Conv1d(n_channel, 2 * n_channel, kernel_size=3)
        self.bn2 = nn.BatchNorm1d(2 * n_channel)
        self.pool2 = nn.MaxPool1d(2)
        self.fc1 = nn.Linear(2 * n_channel, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(F.relu(self.bn1(self.conv1(x))))
        x = self.pool2(F.relu(self.bn2(self.conv2(x))))
        x = F.avg_pool1d(x, x.shape[-1])
        x = self.fc1(x.permute(0, 2, 1))
        return F.log_softmax(x, dim=2)


class ConvTasNet(nn.Module):
    """An encoder basis, masks for two sources estimated from it, one decoder for both."""

    def __init__(self, basis: int = 24, bottleneck: int = 16, hidden: int = 32, sources: int = 2) -> None:
        super().__init__()
        self.sources, self.basis = sources, basis
        self.encoder = nn.Conv1d(1, basis, 8, stride=4, bias=False)
        self.norm = nn.GroupNorm(1, basis, eps=1e-8)
        self.conv1x1 = nn.Conv1d(basis, bottleneck, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(bottleneck, hidden, 1),
                nn.PReLU(),
                nn.GroupNorm(1, hidden),
                nn.Conv1d(hidden, hidden, 3, padding=2**i, dilation=2**i, groups=hidden),
                nn.PReLU(),
                nn.GroupNorm(1, hidden),
                nn.Conv1d(hidden, bottleneck, 1),
            )
            for i in range(2)
        )
        self.mask = nn.Conv1d(bottleneck, sources * basis, 1)
        self.decoder = nn.ConvTranspose1d(basis, 1, 8, stride=4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        w = F.relu(self.encoder(x))
        e = self.conv1x1(self.norm(w))
        for block in self.blocks:
            e = e + block(e)
        m = torch.sigmoid(self.mask(e)).view(x.shape[0], self.sources, self.basis, -1)
        d = (w.unsqueeze(1) * m).view(x.shape[0] * self.sources, self.basis, -1)
        return self.decoder(d).view(x.shape[0], self.sources, -1)


def keyword_spotter() -> nn.Module:
    return M5()


def conv_tasnet() -> nn.Module:
    return ConvTasNet()
