"""Inductor as a device: machine code, compiled ahead of time, in a file that is shipped."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import penjing as pj
from penjing.devices import Cache, Cpu, Eager, Inductor, Timed, describe, get
from penjing.devices.export import AGREEMENT
from penjing.devices.single import Single, convolution, depthwise, linear
from penjing.errors import PenjingError
from penjing.network import Call
from tests.api.models import patterns, small
from tests.devices.models import image, residual

here = pytest.mark.skipif(not Inductor.installed(), reason=Inductor.install())


def test_absent_compiler_is_named_and_nothing_is_run_in_its_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "no-such-c++"))
    with pytest.raises(
        PenjingError, match=r"needs a C\+\+ compiler \(`.*no-such-c\+\+`\), which is not here"
    ) as caught:
        get("inductor")
    assert caught.value.code == "PJ409"
    assert "g++" in caught.value.tries[0]
    assert "pip" not in caught.value.tries[0]
    row = next(row for row in describe() if row["name"] == "inductor")
    assert (row["usable"], row["install"]) == (False, caught.value.tries[0])


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inductor") / "residual.aoti.pt2"
    artifact = Inductor().export(residual(), Call((image(),)), path)
    assert artifact.agrees
    assert 0 <= artifact.agreement <= AGREEMENT
    assert (artifact.form, artifact.path) == ("aoti.pt2", path)
    assert artifact.size_bytes == path.stat().st_size
    return path


@here
def test_pytorch_itself_loads_what_is_shipped_and_computes_the_same(shipped: Path) -> None:
    model, x = residual(), image()
    with torch.no_grad():
        found = torch._inductor.aoti_load_package(shipped)(x)
        assert torch.allclose(found, model(x), atol=1e-5)


@here
def test_job_computes_what_the_module_does(shipped: Path) -> None:
    x = image()
    with torch.no_grad():
        (found,) = Inductor().job(shipped, Call((x,)))()  # type: ignore[misc]
        assert torch.allclose(found, residual()(x), atol=1e-5)


@here
def test_measured_without_inputs_it_makes_them_up(shipped: Path) -> None:
    (measured,) = Inductor().measure(shipped, limit_s=0)
    assert measured.latency_ms > 0


@here
@pytest.mark.parametrize(
    "x",
    [
        torch.zeros(1, 3, 16, 8),
        torch.zeros(1, 3, 16, 16, dtype=torch.float64),
        torch.zeros(1, 3, 16, 16).to(memory_format=torch.channels_last),
        torch.zeros(2, 3, 16, 16),
    ],
    ids=["size", "type", "strides", "batch"],
)
def test_inputs_that_the_code_would_read_wrongly_are_refused(shipped: Path, x: Tensor) -> None:
    with pytest.raises(PenjingError, match="AOTInductor refuses") as caught:
        Inductor().measure(shipped, call=Call((x,)))
    assert caught.value.code == "PJ405"
    assert "compiled for" in caught.value.because


@here
def test_threads_belong_to_the_file(shipped: Path) -> None:
    with pytest.raises(PenjingError, match="AOTInductor refuses") as caught:
        Inductor(threads=2).measure(shipped, call=Call((image(),)))
    assert caught.value.because == "it was compiled for 1 threads, not 2"
    assert Inductor(threads=2).fingerprint.key() != Inductor().fingerprint.key()


@here
def test_code_for_two_threads_is_run_by_two_and_read_by_the_wall(tmp_path: Path) -> None:
    device, count = Inductor(threads=2), torch.get_num_threads()
    x = torch.randn(1, 3, 256, 256)
    artifact = device.export(Spread(), Call((x,)), tmp_path / "two.aoti.pt2")
    assert artifact.agrees
    (measured,) = device.measure(artifact.path, call=Call((x,)), limit_s=0)
    assert measured.basis == "wall"
    assert torch.get_num_threads() == count


class Spread(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x) * torch.exp(x)


@here
def test_measurements_are_not_taken_for_those_of_another_way_of_pytorch() -> None:
    devices: list[Timed] = [Inductor(), Eager(), Cpu()]
    assert len({device.fingerprint.key() for device in devices}) == 3


@here
def test_inputs_by_name_and_inputs_without_use_reach_the_code(tmp_path: Path) -> None:
    class Named(nn.Module):
        def forward(
            self, x: Tensor, *, scale: Tensor, unused: Tensor, shift: float = 1.0
        ) -> dict[str, Tensor]:
            return {"scaled": x * scale, "shifted": x + shift}

    call = Call((torch.randn(2, 3),), {"scale": torch.randn(3), "unused": torch.zeros(4), "shift": 2.0})
    artifact = Inductor().export(Named(), call, tmp_path / "named.aoti.pt2")
    assert artifact.agrees
    assert artifact.outputs == ("scaled", "shifted")
    scaled, shifted = Inductor().job(artifact.path, call)()  # type: ignore[misc]
    x = call.args[0]
    assert torch.allclose(scaled, x * call.kwargs["scale"])
    assert torch.allclose(shifted, x + 2.0)


@here
@pytest.mark.parametrize(
    "single", [convolution(8, 12, size=9, kernel=3), depthwise(6, size=9, kernel=3), linear(5, 7, 3)]
)
def test_single_operators_compute_what_their_models_say(single: Single) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(single.model)
    x = torch.randn(single.shape)
    expected = session.run(None, {"x": x.numpy()})[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randn", lambda *_: x)
        found = Inductor().single(single)()
    found = found[0] if isinstance(found, tuple | list) else found
    assert isinstance(found, Tensor)
    assert torch.allclose(found, torch.tensor(expected), atol=1e-4)


@pytest.mark.slow
@here
def test_widths_are_probed_once(tmp_path: Path) -> None:
    start = time.perf_counter()
    first = Inductor().stairs(Cache(tmp_path))
    between = time.perf_counter()
    assert Inductor().stairs(Cache(tmp_path)) == first
    assert time.perf_counter() - between < (between - start) / 10


@here
def test_model_that_has_no_such_form_is_refused(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else 2 * x

    with pytest.raises(PenjingError, match="`Odd` has no compiled form") as caught:
        Inductor().export(Odd(), Call((torch.randn(2, 2),)), tmp_path / "odd.aoti.pt2")
    assert caught.value.code == "PJ402"
    assert caught.value.because
    assert not list(tmp_path.iterdir())


@here
def test_file_that_is_no_package_is_refused_and_a_program_is_none(tmp_path: Path) -> None:
    broken, program = tmp_path / "broken.aoti.pt2", tmp_path / "model.pt2"
    broken.write_bytes(b"no package")
    Eager().export(residual(), Call((image(),)), program)
    for path in (broken, program):
        with pytest.raises(PenjingError, match="AOTInductor refuses") as caught:
            Inductor().measure(path)
        assert caught.value.code == "PJ405"
        assert caught.value.because
    with pytest.raises(PenjingError) as caught:
        Inductor().measure(tmp_path / "none.aoti.pt2")
    assert caught.value.code == "PJ404"


@here
@pytest.mark.slow
def test_run_ships_the_code_that_was_timed(tmp_path: Path) -> None:
    x, folder = patterns(1)[0][0][:2], tmp_path / "run"
    result = pj.prune(small(), x, budget="macs=0.5x", device="inductor", directory=folder)
    assert result.report.after.latency_ms is not None
    assert result.report.export.format == "aoti.pt2"
    assert result.report.after.size_bytes == (folder / "model.aoti.pt2").stat().st_size
    assert not (folder / "model.onnx").exists()
    with torch.no_grad():
        found = torch._inductor.aoti_load_package(folder / "model.aoti.pt2")(x)
        assert torch.allclose(found, pj.load(folder, small)(x), atol=1e-5)
