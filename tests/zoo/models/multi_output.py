"""Several inputs and outputs: a dict, a registered dataclass, a plain one, optional arguments."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class Prediction:
    """What the multi-task net says; registered with torch's pytrees."""

    logits: Tensor
    box: Tensor
    features: tuple[Tensor, ...] = ()


torch.export.register_dataclass(Prediction, serialized_type_name="tests.zoo.Prediction")


@dataclass
class Estimate:
    """The same, as most users write it: registered nowhere."""

    mean: Tensor
    scale: Tensor


def _trunk() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, 2, 1, bias=False),
        nn.BatchNorm2d(12),
        nn.ReLU(inplace=True),
        nn.Conv2d(12, 20, 3, 2, 1, bias=False),
        nn.BatchNorm2d(20),
        nn.ReLU(inplace=True),
    )


class Fusion(nn.Module):
    """An image and a vector of sensors, keyword only by use; a dict of outputs, one of them nested."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = _trunk()
        self.sensors = nn.Sequential(nn.Linear(7, 16), nn.ReLU(), nn.Linear(16, 20))
        self.gate = nn.Parameter(torch.zeros(20))
        self.depth = nn.Conv2d(20, 1, 1)
        self.steer = nn.Linear(20, 1)
        self.speed = nn.Linear(20, 1)

    def forward(self, image: Tensor, sensors: Tensor, mask: Tensor | None = None) -> dict[str, object]:
        x = self.trunk(image)
        s = self.sensors(sensors)
        if mask is not None:
            s = s * mask
        g = torch.sigmoid(self.gate)
        x = x * g[None, :, None, None] + ((1 - g) * s)[:, :, None, None]
        pooled = x.mean(dim=(2, 3))
        return {"depth": self.depth(x), "control": {"steer": self.steer(pooled), "speed": self.speed(pooled)}}


class MultiTask(nn.Module):
    """Returns a Prediction."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = _trunk()
        self.neck = nn.Linear(20, 32)
        self.cls = nn.Linear(32, 6)
        self.reg = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Prediction:
        h = torch.relu(self.neck(self.trunk(x).amax(dim=(2, 3))))
        return Prediction(logits=self.cls(h), box=self.reg(h).sigmoid(), features=(h.norm(dim=1),))


class Regressor(nn.Module):
    """Returns an Estimate."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(9, 32), nn.Mish(), nn.LayerNorm(32), nn.Linear(32, 24), nn.Mish())
        self.head = nn.Linear(24, 2)

    def forward(self, x: Tensor) -> Estimate:
        mean, raw = self.head(self.net(x)).unbind(-1)
        return Estimate(mean=mean, scale=nn.functional.softplus(raw) + 1e-3)


def fusion_dict() -> nn.Module:
    return Fusion()


def multi_task_dataclass() -> nn.Module:
    return MultiTask()


def regressor_plain_dataclass() -> nn.Module:
    return Regressor()
