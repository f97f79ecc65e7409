from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from penjing.devices.export import to_onnx
from penjing.errors import PenjingError
from penjing.network import Call
from penjing.run.shipped import Shipped


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


def shipped(tmp_path: Path, example: object) -> tuple[Two, Shipped]:
    model = Two().eval()
    call = Call.of(model, example)
    to_onnx(model, call, tmp_path / "model.onnx")
    return model, Shipped(tmp_path / "model.onnx", model, call)


@pytest.mark.parametrize("example", ["tuple", "dict", "mixed"])
@pytest.mark.parametrize("size", [2, 1, 9])
def test_shipped_answers_as_the_module_does_however_it_is_called(
    tmp_path: Path, example: str, size: int
) -> None:
    a, b = inputs(2)
    given = {"tuple": (a, b), "dict": {"a": a, "b": b}, "mixed": Call((a,), {"b": b})}[example]
    model, file = shipped(tmp_path, given)
    a, b = inputs(size)
    expected = model(a, b)
    for found in (file(a, b), file(a, b=b), file(b=b, a=a)):
        assert set(found) == {"total", "parts"}
        torch.testing.assert_close(found["total"], expected["total"], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found["parts"][0], expected["parts"][0], rtol=1e-5, atol=1e-5)
        assert found["parts"][1] is None


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
