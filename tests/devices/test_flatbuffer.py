"""Single operators as LiteRT files compute what the same operators do in PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from penjing.devices.flatbuffer import single_tflite
from penjing.devices.interpreter import Interpreter
from penjing.devices.single import Single, convolution, depthwise, linear

pytest.importorskip("ai_edge_litert")

SINGLES = {
    "convolution": convolution(5, 7, size=6, kernel=3),
    "pointwise": convolution(5, 7, size=6, kernel=1),
    "depthwise": depthwise(6, size=5, kernel=3),
    "linear": linear(4, 5, 7),
}


@pytest.mark.parametrize("name", SINGLES)
def test_float_file_computes_what_the_layer_does(name: str) -> None:
    single = SINGLES[name]
    x = torch.randn(single.shape, generator=torch.Generator().manual_seed(0))
    image = x.ndim == 4
    given = x.permute(0, 2, 3, 1).contiguous() if image else x
    (found,) = Interpreter(single_tflite(single)).run({"x": given.numpy()})
    expected = single.layer()(x).detach()
    wanted = expected.permute(0, 2, 3, 1) if image else expected
    assert np.allclose(found, wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize("name", SINGLES)
def test_int8_file_runs_and_takes_a_quarter_of_the_weights(name: str) -> None:
    single: Single = SINGLES[name]
    content = single_tflite(single, precision="int8")
    Interpreter(content).job()()
    weights = sum(p.numel() for p in single.layer().parameters() if p.ndim > 1)
    assert len(single_tflite(single)) - len(content) > 2 * weights - 600
