from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from penjing.devices import Cpu, Stairs, to_onnx
from penjing.devices.matching import signature_of, signature_of_node, times_by_signature
from penjing.devices.nodes import NodeTime
from penjing.network import Call, trace
from tests.devices.models import Chain, Residual, image


def test_operators_are_found_again_in_the_runtimes_own_graph(tmp_path: Path) -> None:
    """At widths that no runtime pads, whatever it fused."""
    torch.manual_seed(0)
    model = Residual(32, 64, 16).eval()
    net, artifact = trace(model, image()), to_onnx(model, Call((image(),)), tmp_path / "model.onnx")
    nodes = Cpu().profile(artifact.path, call=net.call, seconds=0)
    found = times_by_signature(nodes)
    wanted = {signature_of(operator, {}, Stairs()) for operator in net.operators} - {None}
    assert wanted == {
        ("conv", (32, 3, 3, 3, 16, 16)),
        ("conv", (64, 32, 3, 3, 16, 16)),
        ("conv", (32, 64, 1, 1, 16, 16)),
        ("linear", (1, 32, 16)),
    }
    assert wanted <= found.keys()
    assert all(ms >= 0 for ms in found.values())


def test_linear_layers_on_several_rows_are_found_again(tmp_path: Path) -> None:
    model, x = Chain(nn.Linear(12, 20), nn.GELU(), nn.Linear(20, 7)).eval(), torch.randn(2, 5, 12)
    net, artifact = trace(model, x), to_onnx(model, Call((x,)), tmp_path / "model.onnx")
    found = times_by_signature(Cpu().profile(artifact.path, call=net.call, seconds=0))
    wanted = {signature_of(operator, {}, Stairs()) for operator in net.operators} - {None}
    assert wanted == {("linear", (10, 12, 20)), ("linear", (10, 20, 7))}
    assert wanted <= found.keys()


def test_signature_is_that_of_the_padded_shapes() -> None:
    net = trace(Residual(32, 64).eval(), image())
    inner = next(operator for operator in net.operators if operator.name == "conv2d_1")
    stairs = Stairs(conv_out=16, conv_in=16, conv_even=4)
    assert signature_of(inner, {"stem.0": 20, "inner": 33}, stairs) == ("conv", (48, 32, 3, 3, 16, 16))
    assert signature_of(inner, {"stem.0": 21, "inner": 33}, stairs) == ("conv", (33, 21, 3, 3, 16, 16))


def test_nodes_of_equal_work_share_the_mean_of_their_times() -> None:
    shapes = ((1, 8), (8, 4)), ((1, 4),)
    nodes = [NodeTime("a", "Gemm", *shapes, ms=1.0), NodeTime("b", "FusedGemm", *shapes, ms=3.0)]
    assert times_by_signature(nodes) == {("linear", (1, 8, 4)): 2.0}


@pytest.mark.parametrize("what", ["Relu", "Softmax", "ReorderInput"])
def test_nodes_of_other_kinds_have_no_signature(what: str) -> None:
    assert signature_of_node(what, [(1, 8)], [(1, 8)]) is None
