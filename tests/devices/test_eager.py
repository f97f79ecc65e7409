"""PyTorch as a device, and the exported programs that it runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import penjing as pj
from penjing.devices import Eager, to_program
from penjing.devices.matching import times_by_signature
from penjing.devices.single import convolution, depthwise, linear
from penjing.errors import PenjingError
from penjing.network import Call
from tests.api.models import Small, patterns, small
from tests.devices.models import image, residual


def test_program_holds_the_example_and_not_the_data_set_that_it_was_taken_from(tmp_path: Path) -> None:
    whole = image(4096)
    apart = to_program(residual(), Call((whole[:1],)), tmp_path / "part.pt2")
    alone = to_program(residual(), Call((whole[:1].clone(),)), tmp_path / "alone.pt2")
    assert apart.size_bytes == pytest.approx(alone.size_bytes, rel=0.01)
    assert apart.size_bytes < whole.numel() * 4 / 2


@pytest.mark.slow
def test_wider_network_takes_longer(tmp_path: Path) -> None:
    small_one = to_program(residual(), Call((image(),)), tmp_path / "small.pt2")
    torch.manual_seed(0)
    wide = torch.nn.Sequential(torch.nn.Conv2d(3, 512, 5, padding=2), torch.nn.Conv2d(512, 64, 3)).eval()
    large = to_program(wide, Call((image(),)), tmp_path / "large.pt2")
    threads = torch.get_num_threads()
    one, other = Eager().compare(small_one.path, large.path, call=Call((image(),)))
    assert other.latency_ms > 2 * one.latency_ms > 0
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    "single", [convolution(8, 12, size=9, kernel=3), depthwise(6, size=9, kernel=3), linear(5, 7, 3)]
)
def test_single_operators_compute_what_their_models_say(single: object) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(single.model)  # type: ignore[attr-defined]
    x = torch.randn(single.shape)  # type: ignore[attr-defined]
    torch.manual_seed(3)
    expected = session.run(None, {"x": x.numpy()})[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randn", lambda *_: x)
        found = Eager().single(single)()  # type: ignore[arg-type]
    assert isinstance(found, torch.Tensor)
    assert torch.allclose(found, torch.tensor(expected), atol=1e-5)


@pytest.mark.slow
def test_network_is_pruned_to_a_latency_of_pytorch() -> None:
    model, x = Small(128).eval(), patterns(1)[0][0][:2]
    result = pj.prune(model, x, budget="latency=0.7x", device="torch")
    (line,) = result.report.budget
    assert (line.met, line.provenance) == (True, "measured")


@pytest.mark.slow
def test_run_ships_the_program_that_was_timed(tmp_path: Path) -> None:
    x = patterns(1)[0][0][:2]
    folder = tmp_path / "run"
    result = pj.prune(small(), x, budget="macs=0.5x", device="torch", directory=folder)
    assert result.report.after.latency_ms is not None
    assert result.report.device.provenance == "measured"
    assert result.report.export.format == "pt2"
    assert (folder / "model.pt2").is_file()
    assert not (folder / "model.onnx").exists()
    program = torch.export.load(folder / "model.pt2").module()
    assert torch.allclose(program(x), result.model(x), atol=1e-5)


def test_file_that_is_no_program_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pt2"
    broken.write_bytes(b"no program")
    with pytest.raises(PenjingError, match="PyTorch refuses") as caught:
        Eager().measure(broken)
    assert caught.value.code == "PJ405"
    with pytest.raises(PenjingError) as caught:
        Eager().measure(tmp_path / "none.pt2")
    assert caught.value.code == "PJ404"


def test_operators_are_timed_one_by_one_in_the_shapes_of_the_network(tmp_path: Path) -> None:
    artifact = to_program(residual(), Call((image(),)), tmp_path / "model.pt2")
    nodes = Eager().profile(artifact.path, call=Call((image(),)), seconds=0.1)
    assert [node.kind for node in nodes].count("Conv") == 3
    assert set(times_by_signature(nodes)) == {
        ("conv", (32, 3, 3, 3, 16, 16)), ("conv", (48, 32, 3, 3, 16, 16)), ("conv", (32, 48, 1, 1, 16, 16)),
        ("linear", (1, 32, 5)),
    }  # fmt: skip
    whole = Eager().measure(artifact.path, call=Call((image(),)))[0]
    assert 0 < sum(node.ms for node in nodes) < 3 * whole.wall_ms
    broken = tmp_path / "broken.pt2"
    broken.write_bytes(b"no program")
    with pytest.raises(PenjingError, match="PyTorch refuses") as caught:
        Eager().profile(broken)
    assert caught.value.code == "PJ405"
