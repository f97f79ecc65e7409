"""Task files as users write them, good and bad."""

from __future__ import annotations

GOOD = """
import torch
from torch import nn
import penjing as pj
from tests.api.models import accuracy, loss, patterns, trained


def task():
    return pj.Task(trained(), patterns()[0][0][:1], train=patterns(2), calibration=patterns(1), loss=loss,
                   evaluate=accuracy)


def bare():
    return pj.Task(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), torch.randn(2, 4))


def wrong_inputs():
    return pj.Task(nn.Linear(4, 3), torch.randn(2, 5))


def nan():
    model = nn.Linear(4, 3)
    model.weight.data[0, 0] = float("nan")
    return pj.Task(model, torch.randn(2, 4))


class Stubborn(nn.Module):
    def forward(self, x):
        raise RuntimeError("not today")


def stubborn():
    return pj.Task(Stubborn(), torch.randn(2, 4))


def no_task():
    return nn.Linear(4, 3)


def failing():
    return 1 / 0


def slow():
    import time
    print("ready", flush=True)
    time.sleep(60)
"""

BROKEN = "import penjing as pj\n\ndef task(:\n"
RAISING = "x = 1\ny = x / 0\n"
