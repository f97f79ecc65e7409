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
from penjing.run import shipped as shipped_module
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


def exported(tmp_path: Path, model: nn.Module, example: Tensor, device: str = "torch") -> Shipped:
    model = model.eval()
    call = Call.of(model, example)
    made = devices.get(device)
    artifact = made.export(model, call, tmp_path / f"model.{made.form}")
    return Shipped(artifact.path, artifact.form, model, call)


class Flipped(nn.Module):
    def forward(self, x: Tensor, scale: float = 2.0, *, flip: bool = False) -> Tensor:
        return (x.flip(-1) if flip else x) * scale


@pytest.mark.parametrize("device", ["cpu", "torch"])
def test_arguments_that_are_no_tensors_are_those_of_the_example(tmp_path: Path, device: str) -> None:
    x = torch.arange(6.0).reshape(2, 3)
    file = exported(tmp_path, Flipped(), x, device)
    for found in (file(x), file(x, 2), file(x, scale=2.0, flip=False)):
        torch.testing.assert_close(found, 2 * x)
    for call in (Call((x,), {"flip": True}), Call((x, 3.0)), Call((x,), {"scale": torch.tensor(2.0)})):
        with pytest.raises(ValueError, match="exported file"):
            call.run(file)


class Sequence(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.GRU(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layer(x)[0]
        return found


@pytest.mark.parametrize("device", ["torch", "litert"])
def test_sequence_is_not_taken_for_a_batch(tmp_path: Path, device: str) -> None:
    kind = made_by(devices.DEVICES[device])
    if kind is None or not kind.installed():
        pytest.skip("an extra")
    model = Sequence().eval()
    file = exported(tmp_path, model, torch.randn(5, 2, 3), device)
    x = torch.randn(5, 2, 3)
    torch.testing.assert_close(file(x), model(x), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="not computed one by one"):
        file(torch.randn(10, 2, 3))


class Sized(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, int]:
        return 2 * x, x.shape[0]


def test_number_among_the_outputs_is_not_that_of_another_batch(tmp_path: Path) -> None:
    for device in ("cpu", "torch"):
        file = exported(tmp_path, Sized(), torch.randn(4, 3), device)
        assert file(torch.randn(4, 3))[1] == 4
        with pytest.raises(ValueError, match="size of the batch"):
            file(torch.randn(8, 3))


def test_object_that_a_file_does_not_give_is_said_to_be_absent() -> None:
    with pytest.raises(ValueError, match="not this object"):
        _ = shipped_module._known(slice(3)).start
    with pytest.raises(ValueError, match="not this object"):
        bool(shipped_module._known(slice(3)))
    assert shipped_module._known(3) == 3


class InPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(2)


def test_inputs_of_the_example_are_not_written_to(tmp_path: Path) -> None:
    x = torch.ones(2, 3)
    model = InPlace()
    path = tmp_path / "model.pt2"
    devices.get("torch").export(model, Call((torch.ones(2, 3),)), path)
    Shipped(path, "pt2", model, Call((x,)))
    assert torch.equal(x, torch.ones(2, 3))


class Colliding(nn.Module):
    def forward(self, x: Tensor) -> dict[str, object]:
        return {"a.b": x, "a_b": 3 * x, "a": [2 * x]}


@pytest.mark.parametrize("device", ["cpu", "torch"])
def test_outputs_of_like_names_are_all_there_and_batches_may_be_empty(tmp_path: Path, device: str) -> None:
    file = exported(tmp_path, Colliding(), torch.randn(2, 3), device)
    x = torch.randn(2, 3)
    found = file(x)
    for name, wanted in {"a.b": x, "a_b": 3 * x}.items():
        torch.testing.assert_close(found[name], wanted)
    torch.testing.assert_close(found["a"][0], 2 * x)
    assert file(torch.empty(0, 3))["a_b"].shape == (0, 3)


def test_inputs_of_another_type_are_refused_and_outputs_have_the_model_s(tmp_path: Path) -> None:
    file = exported(tmp_path, Colliding().bfloat16(), torch.randn(2, 3).bfloat16())
    assert file(torch.randn(2, 3).bfloat16())["a_b"].dtype == torch.bfloat16
    with pytest.raises(ValueError, match="float32, not float64"):
        file(torch.randn(2, 3).double())
