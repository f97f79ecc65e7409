from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from penjing import devices
from penjing.devices.form import Form
from penjing.devices.table import made_by
from penjing.errors import PenjingError
from penjing.network import Call
from penjing.run.shipped import RUNNERS, Shipped


class Two(nn.Module):
    """Two inputs, one of them with a default; a dict comes out."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.left, self.right = nn.Linear(4, 3), nn.Linear(5, 3)

    def forward(self, a: Tensor, b: Tensor, scale: float = 2.0) -> dict[str, object]:
        total = self.left(a) * scale + self.right(b)
        return {"total": total, "parts": (self.left(a), None)}


def inputs(size: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(size)
    return torch.randn(size, 4, generator=generator), torch.randn(size, 5, generator=generator)


DEVICES = ("cpu", "torch", "inductor", "litert", "executorch")
"""One for every form that may have several outputs."""


def shipped(tmp_path: Path, example: object, device: str = "cpu") -> tuple[Two, Shipped]:
    kind = made_by(devices.DEVICES[device])
    assert kind is not None
    if not kind.installed():
        pytest.skip(kind.install())
    model = Two().eval()
    call = Call.of(model, example)
    made = devices.get(device)
    artifact = made.export(model, call, tmp_path / f"model.{made.form}")
    return model, Shipped(artifact.path, artifact.form, model, call)


def test_every_form_has_a_runner() -> None:
    assert set(RUNNERS) == set(get_args(Form))
    forms = {kind.form for make in devices.DEVICES.values() if (kind := made_by(make)) is not None}
    assert forms == set(RUNNERS)


@pytest.mark.parametrize(
    ("example", "device"),
    [
        *product(["tuple", "dict", "mixed"], [name for name in DEVICES if name != "inductor"]),
        ("mixed", "inductor"),  # compiled for each: one is enough
    ],
)
def test_shipped_answers_as_the_module_does_however_it_is_called(
    tmp_path: Path, example: str, device: str
) -> None:
    a, b = inputs(2)
    given = {"tuple": (a, b), "dict": {"a": a, "b": b}, "mixed": Call((a,), {"b": b})}[example]
    model, file = shipped(tmp_path, given, device)
    for size in (2, 1, 9):
        a, b = inputs(size)
        expected = model(a, b)
        for found in (file(a, b), file(a, b=b), file(b=b, a=a)):
            assert set(found) == {"total", "parts"}
            torch.testing.assert_close(found["total"], expected["total"], rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(found["parts"][0], expected["parts"][0], rtol=1e-5, atol=1e-5)
            assert found["parts"][1] is None


@pytest.mark.parametrize("device", ["torch", "inductor", "executorch"])
def test_samples_of_another_size_are_refused(tmp_path: Path, device: str) -> None:
    _, file = shipped(tmp_path, inputs(2), device)
    a, b = inputs(4)
    with pytest.raises(PenjingError, match="refuses") as caught:
        file(a[:, :3], b)
    assert caught.value.code == "PJ405"


def test_shipped_tells_its_device_to_code_that_asks_for_parameters(tmp_path: Path) -> None:
    _, file = shipped(tmp_path, inputs(2))
    assert next(file.parameters()).device == torch.device("cpu")
    assert not file.eval().training


def test_shipped_refuses_other_inputs(tmp_path: Path) -> None:
    _, file = shipped(tmp_path, inputs(2))
    a, b = inputs(2)
    with pytest.raises(TypeError):
        file(a)
    with pytest.raises(PenjingError):
        file(b, a)
    with pytest.raises(ValueError, match="takes input_0"):
        file(a, {"b": b, "c": b})
