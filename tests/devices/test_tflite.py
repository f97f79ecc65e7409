"""LiteRT files: the same function as the module, in both precisions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from penjing.devices.interpreter import Interpreter
from penjing.devices.tflite import to_tflite
from penjing.errors import PenjingError
from penjing.network import Call

pytest.importorskip("litert_torch")


class Branches(nn.Module):
    """Convolutions of every kind, pooling, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1, stride=2)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.last = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = functional.relu6(self.norm(self.first(images)))
        x = x + functional.hardswish(self.depthwise(x))
        return self.last(functional.adaptive_avg_pool2d(x, 1).flatten(1))


class Several(nn.Module):
    """Named inputs, and outputs in a dictionary, one of them a number."""

    def forward(self, first: Tensor, *, second: Tensor, times: int = 2) -> dict[str, Any]:
        return {"sum": first + times * second, "rest": [first - second, first.sum()]}


def network() -> Branches:
    torch.manual_seed(0)
    made = Branches()
    for part in made.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -0.5, 0.5)  # type: ignore[arg-type]
            nn.init.uniform_(part.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    return made.eval()


def images(count: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_file_computes_what_the_module_does_on_inputs_that_it_was_not_made_with(tmp_path: Path) -> None:
    model = network().train()
    artifact = to_tflite(model, Call((images(2),)), tmp_path / "model.tflite")
    assert model.training
    assert artifact.agrees
    assert (artifact.form, artifact.size_bytes) == ("tflite", (tmp_path / "model.tflite").stat().st_size)
    fresh = torch.randn(2, 3, 16, 16)
    (found,) = Interpreter(artifact.path).run({"input": fresh.numpy()})
    assert np.allclose(found, model.eval()(fresh).detach().numpy(), atol=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["model.tflite"]


def test_any_number_of_rows_goes_through_a_file_of_two(tmp_path: Path) -> None:
    model = network()
    artifact = to_tflite(model, Call((images(2),)), tmp_path / "model.tflite")
    fresh = images(5)
    (found,) = Interpreter(artifact.path).run({"input": fresh.numpy()})
    assert np.allclose(found, model(fresh).detach().numpy(), atol=1e-5)


def test_named_inputs_and_several_outputs_keep_their_order(tmp_path: Path) -> None:
    first, second = torch.randn(2, 3), torch.randn(2, 3)
    artifact = to_tflite(Several(), Call((first,), {"second": second}), tmp_path / "model.tflite")
    assert artifact.inputs == ("input", "second")
    assert artifact.outputs == ("sum", "rest_0", "rest_1")
    found = Interpreter(artifact.path).run({"input": second.numpy(), "second": first.numpy()})
    assert np.allclose(found[0], second + 2 * first)
    assert np.allclose(found[1], second - first)
    assert np.allclose(found[2], second.sum())


def test_int8_ranges_come_from_the_calibration_calls(tmp_path: Path) -> None:
    model, call, wide = network(), Call((images(1, 0.1),)), images(16, 3.0)
    calls = [Call((row[None],)) for row in wide]
    narrow = to_tflite(model, call, tmp_path / "narrow.tflite", precision="int8")
    fitted = to_tflite(model, call, tmp_path / "fitted.tflite", precision="int8", calibration=calls)
    expected = model(wide).detach().numpy()
    errors = [
        float(np.abs(Interpreter(one.path).run({"input": wide.numpy()})[0] - expected).mean())
        for one in (narrow, fitted)
    ]
    assert errors[1] < 0.1 * np.abs(expected).mean() < 0.5 * errors[0]
    plain = to_tflite(model, call, tmp_path / "plain.tflite")
    weights = 8 * 3 * 9 + 8 * 9 + 8 * 5
    assert (
        plain.size_bytes - fitted.size_bytes > -4 * weights
    )  # int8 adds scales, and takes 3 bytes a weight off


def test_model_without_a_litert_form_is_refused_in_the_converters_words(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.linalg.svdvals(x)

    with pytest.raises(PenjingError, match="has no LiteRT form") as caught:
        to_tflite(Odd(), Call((torch.randn(4, 4),)), tmp_path / "model.tflite")
    assert caught.value.code == "PJ402"
    assert caught.value.because
    assert not list(tmp_path.iterdir())


def test_what_is_no_file_of_its_kind_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"no model")
    with pytest.raises(PenjingError, match="LiteRT refuses") as caught:
        Interpreter(broken)
    assert caught.value.code == "PJ405"
    with pytest.raises(PenjingError) as caught:
        Interpreter(tmp_path / "none.tflite")
    assert caught.value.code == "PJ404"


def test_inputs_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    artifact = to_tflite(network(), Call((images(2),)), tmp_path / "model.tflite")
    with pytest.raises(PenjingError, match="LiteRT refuses") as caught:
        Interpreter(artifact.path).run({"input": np.zeros((2, 3, 8, 8), dtype=np.float32)})
    assert caught.value.code == "PJ405"
    with pytest.raises(PenjingError, match="takes 1 inputs, not 2"):
        Interpreter(artifact.path).run({"a": images(2).numpy(), "b": images(2).numpy()})
