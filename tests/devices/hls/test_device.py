"""FPGAs through hls4ml: what penjing works out is what stands in hls4ml's own files."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import penjing as pj
from penjing.devices import Artifact, Hls4ml, get
from penjing.devices.hls import device as device_module
from penjing.devices.hls.emulator import Emulator
from penjing.devices.hls.precision import fixed
from penjing.devices.hls.reading import read_project
from penjing.errors import PenjingError
from penjing.network import Call, trace

here = pytest.mark.skipif(not Hls4ml.installed(), reason="hls4ml is an extra, and needs a compiler")


class Residual(nn.Module):
    """A convolution, a residual block with a shortcut, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.first, self.second = nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.Conv2d(12, 12, 3, padding=1)
        self.shortcut = nn.Conv2d(8, 12, 1, stride=2)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        y = torch.relu(self.second(torch.relu(self.first(y))) + self.shortcut(y))
        return self.head(y.mean((2, 3)))


def images(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 1, 12, 12, generator=torch.Generator().manual_seed(seed))


def model() -> Residual:
    torch.manual_seed(0)
    return Residual().eval()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    calls = [Call((images(1, seed),)) for seed in range(8)]
    path = tmp_path_factory.mktemp("hls") / "model.hls.zip"
    return Hls4ml().export(model(), Call((images(1),)), path, calibration=calls)


@here
def test_emulation_agrees_with_the_model_to_the_bits_that_it_has(made: Artifact) -> None:
    x = images(40, seed=99)
    (found,) = Emulator.read(made.path).run({"input": x.numpy()})
    with torch.no_grad():
        wanted = model()(x)
    assert found.shape == wanted.shape
    assert float((torch.from_numpy(found) - wanted).abs().max()) < 0.02 * float(wanted.abs().max())
    assert made.agreement < 0.01


@here
def test_project_of_the_same_network_is_the_same_file(made: Artifact, tmp_path: Path) -> None:
    calls = [Call((images(1, seed),)) for seed in range(8)]
    again = Hls4ml().export(model(), Call((images(1),)), tmp_path / "again.hls.zip", calibration=calls)
    assert again.path.read_bytes() == made.path.read_bytes()
    with zipfile.ZipFile(made.path) as file:
        texts = [file.read(name) for name in file.namelist()]
    assert not any(str(Path.home()).encode() in text or b"python/object" in text for text in texts)


@here
def test_estimate_is_what_the_files_of_the_project_come_to(made: Artifact) -> None:
    """Reuse factors that are worked out from widths alone, against those that hls4ml has written."""
    net = trace(model(), images(1))
    prices = Hls4ml().estimate(net)
    written = sorted(layer.folded.cycles for layer in read_project(made.path).layers)
    heads = [one for one in net.operators if one.macs_at({})]
    assert sorted(prices.cycles(one, {}) for one in heads) == written
    rest = [one for one in net.operators if prices.alone(one) and one not in heads]
    assert prices.total("latency", {}) == pytest.approx(
        (sum(written) + sum(prices.cycles(one, {}) for one in rest)) / 200e3
    )
    project = read_project(made.path)
    assert {layer.bits for layer in project.layers} == {16}
    assert max(layer.folded.multipliers for layer in project.layers) <= 64
    assert project.slowest_cycles == written[-1]


@here
def test_memory_is_read_off_streams_and_weights(made: Artifact) -> None:
    project = read_project(made.path)
    with zipfile.ZipFile(made.path) as file:
        code = file.read("firmware/network.cpp").decode()
    assert len(project.streams) == code.count("#pragma HLS STREAM")
    # The stem's output: 144 positions of 8 channels of 16 bits, 128 bits a word.
    assert any((one.bits, one.depth) == (128, 144) and one.blocks == 4 for one in project.streams)
    blocks = sum(one.blocks for one in project.streams)
    for layer in project.layers:
        held = layer.folded.n_in * layer.folded.n_out * 16
        blocks += -(-held // (layer.folded.reuse_factor * 36)) if layer.folded.reuse_factor > 1 else 0
    assert Hls4ml().figures(made.path)["memory"] == blocks * 4608
    assert any("multipliers" in note for note in Hls4ml().remarks(made.path))


@here
@pytest.mark.slow
def test_run_is_inside_its_budgets_and_judged_by_emulation(tmp_path: Path) -> None:
    data = list(images(64, seed=5).split(16))
    asked: list[int] = []

    def evaluate(network: nn.Module) -> float:
        found = network(images(6, seed=7))
        asked.append(len(found))
        return float(found.mean())

    result = pj.prune(
        model(), images(1), budget="cycles=0.6x,memory=0.9x", device="hls4ml", data=data, evaluate=evaluate
    )
    folder = result.save(tmp_path / "run")
    report = json.loads((folder / "report.json").read_text())
    cycles, memory = report["budget"]
    for line in (cycles, memory):
        assert line["within"]
        assert not line["met"]  # by formulas
        assert line["provenance"] == "analytic"
        assert line["error"] == 0.5
    assert memory["achieved"] == read_project(folder / "model.hls.zip").memory_bytes
    assert report["after"]["metric_of"] == "hls.zip"
    emulated = Emulator.read(folder / "model.hls.zip").run({"input": images(6, seed=7).numpy()})[0]
    assert report["after"]["metric"] == pytest.approx(float(emulated.mean()))
    assert asked == [6, 6]
    assert result.proof.passed


def test_fixed_point_holds_the_largest_value_and_no_more_than_it_needs() -> None:
    assert fixed(0.9, 16) == "ap_fixed<16,1,AP_RND,AP_SAT>"
    assert fixed(1.0, 16) == "ap_fixed<16,2,AP_RND,AP_SAT>"
    assert fixed(3.99, 12) == "ap_fixed<12,3,AP_RND,AP_SAT>"
    assert fixed(0.0, 8) == "ap_fixed<8,1,AP_RND,AP_SAT>"


@here
def test_grouped_convolution_is_refused_in_hls4ml_s_own_words(tmp_path: Path) -> None:
    grouped = nn.Conv2d(4, 4, 3, groups=2).eval()
    with pytest.raises(PenjingError, match="no hls4ml form") as caught:
        Hls4ml().export(grouped, Call((torch.randn(1, 4, 8, 8),)), tmp_path / "model.hls.zip")
    assert caught.value.code == "PJ402"
    assert "groups" in caught.value.because
    assert not list(tmp_path.iterdir())


@here
def test_what_the_compiler_refuses_is_said(made: Artifact, tmp_path: Path) -> None:
    broken = tmp_path / "broken.hls.zip"
    with zipfile.ZipFile(made.path) as old, zipfile.ZipFile(broken, "w") as new:
        for name in old.namelist():
            content = b"no C++" if name == "firmware/network.cpp" else old.read(name)
            new.writestr(name, content)
    with pytest.raises(PenjingError, match="emulation refuses") as caught:
        Emulator.read(broken)
    assert caught.value.code == "PJ405"


@here
def test_samples_of_another_shape_are_refused(made: Artifact) -> None:
    with pytest.raises(PenjingError, match="emulation refuses"):
        Emulator.read(made.path).run({"input": torch.zeros(1, 1, 8, 8).numpy()})


@here
@pytest.mark.parametrize("options", [{"multipliers": 0}, {"bits": 5}, {"bits": 32}, {"clock_mhz": 0.0}])
def test_design_that_cannot_be_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(PenjingError, match="cannot build") as caught:
        get("hls4ml", **options)
    assert caught.value.code == "PJ406"


def test_absent_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "compiler", lambda: None)
    with pytest.raises(PenjingError, match="hls4ml") as caught:
        get("hls4ml")
    assert caught.value.code == "PJ409"
    assert any("g++" in one for one in caught.value.tries)


@here
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_what_is_padded_around_is_what_pytorch_pads(tmp_path: Path) -> None:
    layers = [
        nn.Conv2d(1, 4, (2, 3), padding="same"),
        nn.ReLU(),
        nn.MaxPool2d(2, padding=1),
        nn.Conv2d(4, 3, 3),
    ]
    torch.manual_seed(0)
    network = nn.Sequential(
        *layers, nn.AvgPool2d((1, 3), padding=(0, 1)), nn.Flatten(), nn.Linear(30, 4)
    ).eval()
    assert Hls4ml().export(network, Call((images(1),)), tmp_path / "model.hls.zip").agreement < 0.01


@here
def test_emulation_that_aborts_is_refused_in_its_own_words(made: Artifact, tmp_path: Path) -> None:
    """hls4ml's headers hold assertions: they must not end the process that asks."""
    broken = tmp_path / "broken.hls.zip"
    with zipfile.ZipFile(made.path) as old, zipfile.ZipFile(broken, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "network_bridge.cpp":
                content = content.replace(b"network(given0_ap", b'assert(!"no more"); network(given0_ap')
                content = b"#include <cassert>\n" + content
            new.writestr(name, content)
    with pytest.raises(PenjingError, match="emulation refuses") as caught:
        Emulator.read(broken).run({"input": images(1).numpy()})
    assert caught.value.code == "PJ405"
    assert "no more" in caught.value.because


@here
def test_scales_of_norms_are_held_too(tmp_path: Path) -> None:
    """A division by 0.1 is a norm whose scale is ten: one that saturates at two computes something else."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv((x - 0.3) / 0.1)

    torch.manual_seed(0)
    artifact = Hls4ml().export(Scaled().eval(), Call((images(1),)), tmp_path / "model.hls.zip")
    assert artifact.agreement < 0.01
