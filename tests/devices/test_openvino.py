"""OpenVINO as a device, where it is installed; and what is said where it is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from penjing.devices import OpenVino, describe, get
from penjing.devices import device as device_module
from penjing.devices.matching import times_by_signature
from penjing.devices.single import convolution
from penjing.errors import PenjingError
from penjing.network import Call

here = pytest.mark.skipif(not OpenVino.installed(), reason="OpenVINO is an extra")


def test_absent_runtime_names_what_to_install_and_no_other_device_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device_module, "find_spec", lambda name: None if name == "openvino" else name)
    with pytest.raises(PenjingError, match="openvino, which is not here") as caught:
        get("openvino")
    assert caught.value.code == "PJ409"
    assert caught.value.tries[0] == 'pip install "penjing[openvino]"'
    row = next(row for row in describe() if row["name"] == "openvino")
    assert (row["usable"], row["install"]) == (False, 'pip install "penjing[openvino]"')


@pytest.mark.slow
@here
def test_wider_network_takes_longer(tmp_path: Path) -> None:
    paths = [tmp_path / "narrow.onnx", tmp_path / "wide.onnx"]
    for path, width in zip(paths, (8, 128), strict=True):
        path.write_bytes(convolution(64, width, size=32, kernel=3).model)
    call = Call((), {"x": torch.zeros(1, 64, 32, 32)})
    narrow, wide = OpenVino().compare(*paths, call=call)
    assert wide.latency_ms > 2 * narrow.latency_ms > 0
    assert narrow.basis == wide.basis
    assert OpenVino().record()["runtime"].startswith("openvino ")


@here
def test_refused_file_is_named_with_the_runtimes_own_words(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(PenjingError, match="OpenVINO refuses") as caught:
        OpenVino().measure(broken, call=Call((torch.zeros(1),), {}))
    assert caught.value.code == "PJ405"
    assert caught.value.because
    with pytest.raises(PenjingError) as caught:
        OpenVino().measure(tmp_path / "none.onnx", call=Call((torch.zeros(1),), {}))
    assert caught.value.code == "PJ404"


@here
def test_operators_are_timed_in_the_shapes_of_the_network(tmp_path: Path) -> None:
    """As ONNX Runtime tells them: other fusions, the same convolutions and products."""

    class Both(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.each = torch.nn.Conv2d(3, 64, 3), torch.nn.Conv2d(64, 64, 3, groups=64)
            self.head = torch.nn.Linear(64, 512)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.relu(self.each(torch.relu(self.stem(x)))).mean((2, 3)))

    call = Call((torch.randn(4, 3, 32, 32),))
    artifact = OpenVino().export(Both().eval(), call, tmp_path / "model.onnx")
    nodes = OpenVino().profile(artifact.path, call=call, seconds=0.1)
    assert set(times_by_signature(nodes)) == {
        ("conv", (64, 3, 3, 3, 30, 30)), ("conv", (64, 1, 3, 3, 28, 28)), ("linear", (4, 64, 512)),
    }  # fmt: skip
    assert len({node.name for node in nodes}) == len(nodes)
    assert all(node.ms > 0 for node in nodes)
    with pytest.raises(PenjingError, match="no artifact"):
        OpenVino().profile(tmp_path / "none.onnx")
