from __future__ import annotations

import math

import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from penjing import trace
from penjing.plan import Plan
from penjing.recover import Reconstruct, Situation
from penjing.recover.reconstruction.rectifier import Range, Rows, rectified
from penjing.recover.reconstruction.regression import Fit, Moments, fit
from penjing.surgery import cut


def problem(*, ceiling: float = math.inf, seed: int = 0) -> tuple[Rows, list[Moments], Tensor]:
    """Three features, two outputs scaled by 2 and -1, behind a rectifier; the aims are no linear function."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1, 400, 3, generator=generator, dtype=torch.float64)
    scale = torch.tensor([2.0, -1.0], dtype=torch.float64).view(1, 1, 2)
    shift = torch.randn(1, 400, 2, generator=generator, dtype=torch.float64)  # a shortcut's share
    lacking = torch.sin(3 * x[..., :2]) + x[..., 2:] - 0.3
    output = torch.zeros(1, 400, 2, dtype=torch.float64)
    rows = Rows(x, lacking, torch.arange(400) % 2, Range(output, output * scale + shift, scale, ceiling))
    halves = [Moments(), Moments()]
    shifts = x.mean(1, keepdim=True), lacking.mean(1, keepdim=True)
    for parity, half in enumerate(halves):
        half.begin(shifts)
        half.add(x[:, parity::2], lacking[:, parity::2])
    return rows, halves, shift


def error(rows: Rows, change: Tensor, offset: Tensor) -> float:
    """Before the rectifier where the original passes; else only what is not cut off."""
    assert rows.range is not None
    added = rows.features @ change.mT + offset[:, None]
    top = rows.range.ceiling
    now = rows.range.before + rows.range.scale * added
    aim = rows.range.before + rows.range.scale * rows.lacking
    apart = torch.where(
        aim <= 0, now.clamp_min(0), torch.where(aim >= top, (now - top).clamp_max(0), now - aim)
    )
    return float(((apart / rows.range.scale) ** 2).sum())


@pytest.mark.parametrize("ceiling", [math.inf, 1.5])
def test_rectified_error_falls_round_by_round_to_that_of_a_general_minimiser(ceiling: float) -> None:
    rows, halves, _ = problem(ceiling=ceiling)
    plain = fit(halves, offset=True, ridges=[1e-9])
    errors = [
        error(rows, found.change, found.offset)
        for found in (rectified([rows], halves, plain, offset=True, rounds=n) for n in (0, 1, 2, 4, 8, 400))
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.97 * errors[0]
    start = torch.cat([plain.change[0], plain.offset.mT], 1).flatten().numpy()

    def objective(values: object) -> float:
        both = torch.as_tensor(values).view(2, 4)
        return error(rows, both[None, :, :3], both[None, :, 3])

    best = minimize(objective, start, method="BFGS").fun
    assert errors[-1] <= best * 1.002


def test_rectified_leaves_a_fit_alone_that_no_change_could_better() -> None:
    rows, halves, _ = problem()
    none = Fit(torch.zeros(1, 2, 3, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64), None, 0.0)
    assert rectified([rows], halves, none, offset=True) is none


class Rectified(nn.Module):
    """A residual block that ends in a rectifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.inner = nn.Conv2d(12, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.outer = nn.Conv2d(16, 12, 1)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(x + self.outer(torch.relu(self.norm(self.inner(x)))))
        return self.head(x.mean((2, 3)))


def test_reconstruction_comes_nearer_behind_rectifiers_than_in_front_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    model = Rectified().eval()
    data = [torch.randn(32, 3, 8, 8) for _ in range(6)]
    net = trace(model, data[0])
    plan = Plan(kept={axis.name: tuple(range(0, axis.size, 4)) for axis in net.prunable})
    found = []
    for rounds in (0, 5):
        monkeypatch.setattr(
            "penjing.recover.reconstruction.layer.rectified",
            lambda *given, rounds=rounds, **named: rectified(*given, **named, rounds=rounds),
        )
        small = cut(net, plan).model
        record = Reconstruct().apply(small, Situation(model, data, net=net, plan=plan))
        found.append(record.options["deviation_after"])
    assert found[1] < found[0]
