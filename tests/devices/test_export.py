from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from penjing.devices import Artifact, artifact_size, to_onnx
from penjing.devices import export as export_module
from penjing.errors import PenjingError
from penjing.network import Call
from tests.devices.models import image, residual


def run(path: Path, *inputs: Tensor) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    return session.run(None, {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)})


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return to_onnx(residual(), Call((image(),)), tmp_path_factory.mktemp("export") / "model.onnx")


def test_file_agrees_with_the_module(artifact: Artifact) -> None:
    (found,) = run(artifact.path, image())
    wanted = residual()(image()).detach().numpy()
    apart = np.abs(found - wanted).max() / np.abs(wanted).max()
    assert artifact.agreement == pytest.approx(apart, rel=1e-3)
    assert artifact.agrees
    assert apart <= 1e-5


def test_file_takes_another_batch_than_the_example(artifact: Artifact) -> None:
    assert artifact.static == ""
    (found,) = run(artifact.path, image(5))
    assert np.allclose(found, residual()(image(5)).detach().numpy(), atol=1e-5)


class FixedBatch(nn.Module):
    """Has a row of weights for every row of its batch."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.randn(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.rows


def test_file_says_what_fixes_its_batch(tmp_path: Path) -> None:
    artifact = to_onnx(FixedBatch(), Call((torch.randn(2, 3),)), tmp_path / "model.onnx")
    assert artifact.static == "the model's code fixes that of `input`"
    assert artifact.agrees


class LonelyBatch(nn.Module):
    """Does something of its own for a batch of one."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.shape[0] == 1 else x * 3


def test_file_keeps_to_the_example_when_the_code_asks_for_the_batch(tmp_path: Path) -> None:
    artifact = to_onnx(LonelyBatch(), Call((torch.ones(1, 3),)), tmp_path / "model.onnx")
    assert run(artifact.path, torch.ones(1, 3))[0].tolist() == [[2.0, 2.0, 2.0]]
    assert artifact.static


def test_file_says_so_when_a_fixed_batch_was_asked_for(tmp_path: Path) -> None:
    artifact = to_onnx(residual(), Call((image(),)), tmp_path / "model.onnx", free_batch=False)
    assert artifact.static == "asked for"
    assert onnx.load(artifact.path).graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1


class Named(nn.Module):
    def forward(self, left: Tensor, right: Tensor) -> dict[str, Tensor]:
        return {"sum": left + right, "left": left * 2}


def test_inputs_and_outputs_keep_their_names_and_stay_apart(tmp_path: Path) -> None:
    left, right = torch.randn(2, 3), torch.randn(2, 3)
    # Named arguments come in any order.
    artifact = to_onnx(Named(), Call((), {"right": right, "left": left}), tmp_path / "model.onnx")
    assert set(artifact.inputs) == {"left", "right"}
    assert artifact.outputs == ("sum", "left_out")
    assert artifact.agrees


def test_training_mode_and_weights_are_left_alone(tmp_path: Path) -> None:
    model = residual().train()
    model.norm.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    to_onnx(model, Call((image(),)), tmp_path / "model.onnx")
    assert model.training
    assert not model.norm.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_export_says_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with warnings.catch_warnings(), caplog.at_level(logging.DEBUG):
        warnings.simplefilter("error")
        to_onnx(residual(), Call((image(),)), tmp_path / "model.onnx")
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_file_tells_nothing_of_the_machine_it_was_made_on(artifact: Artifact) -> None:
    content = artifact.path.read_bytes()
    assert str(Path(__file__).parent).encode() not in content
    assert b"stack_trace" not in content


def test_weights_are_inside_the_only_file(artifact: Artifact) -> None:
    assert [path.name for path in artifact.path.parent.iterdir()] == ["model.onnx"]
    assert artifact.size_bytes == artifact.path.stat().st_size == artifact_size(artifact.path).value
    weights = sum(tensor.numel() * 4 for tensor in residual().parameters())
    assert 0.9 * weights <= artifact.size_bytes <= weights + 20_000


def test_weights_lie_beside_the_file_when_they_are_too_large_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "_INLINE_BYTES", 1000)
    artifact = to_onnx(residual(), Call((image(),)), tmp_path / "model.onnx")
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "model.onnx.data"}
    assert artifact.size_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert artifact.agrees
    monkeypatch.undo()
    to_onnx(residual(), Call((image(),)), tmp_path / "model.onnx")
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx"}


class Undecided(nn.Module):
    """Looks at a value, which no exporter can follow."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if x.sum() > 0 else x - 1


def test_refusal_gives_the_exporters_words_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(PenjingError, match="Undecided") as caught:
        to_onnx(Undecided(), Call((torch.randn(2, 3),)), tmp_path / "sub" / "model.onnx")
    assert caught.value.code == "PJ402"
    assert "data-dependent" in caught.value.because
    assert not (tmp_path / "sub").exists()


def test_file_that_computes_something_else_is_refused_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exporter is made to lie: it is handed another module than the one compared with."""
    honest = torch.export.export

    def lying(model: nn.Module, *args: object, **kwargs: object) -> object:
        wrong = residual()
        with torch.no_grad():
            wrong.head.bias += 1.0
        return honest(wrong, *args, **kwargs)

    monkeypatch.setattr(torch.export, "export", lying)
    with pytest.raises(PenjingError, match="something else") as caught:
        to_onnx(residual(), Call((image(),)), tmp_path / "model.onnx")
    assert caught.value.code == "PJ403"
    assert list(tmp_path.iterdir()) == []
