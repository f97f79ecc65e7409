"""A recorded cut, through JSON, made again on a fresh module: the same module bit for bit, or a refusal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from penjing.errors import PenjingError
from penjing.network import trace
from penjing.surgery import cut, redo
from tests.surgery.shrink import Keep, Shrunk, every_other, own, seeded, shrink
from tests.surgery.test_attention import Encoder
from tests.surgery.test_correct import Chunked, Literal, OneWidth
from tests.surgery.test_cut import Net, Stubborn
from tests.surgery.test_graph import Mixed
from tests.surgery.test_watch import Attention, Computed

TOKENS, IMAGE, ROW = torch.randn(2, 6, 16), torch.randn(2, 3, 8, 8), torch.randn(3, 6)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(16, 12, 2, batch_first=True, bidirectional=True)
        self.norm, self.head = nn.GroupNorm(4, 24), nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.rnn(x)[0].transpose(1, 2)).transpose(1, 2))


MODELS: dict[str, tuple[Any, Tensor]] = {
    "convolutions": (Net, IMAGE),
    "every kind of tensor": (Mixed, IMAGE),
    "attention": (Attention, TOKENS),
    "computed sizes": (Computed, TOKENS),
    "corrected view": (Literal, TOKENS),
    "corrected scale": (OneWidth, TOKENS),
    "corrected pieces": (Chunked, TOKENS),
    "encoder": (lambda: Encoder(batch_first=True), torch.randn(2, 5, 6)),
    "recurrent": (Recurrent, TOKENS),
    "graph": (Stubborn, ROW),
}


def refreshed(shrunk: Shrunk, build: Any, x: Tensor) -> Any:
    """The cut made on a module with other weights, then given those of the first by a file's means."""
    record = json.loads(json.dumps(shrunk.cut.record))
    fresh = redo(record, seeded(build, seed=7), x)
    wanted = shrunk.model.state_dict()
    assert {n: t.shape for n, t in fresh.state_dict().items()} == {n: t.shape for n, t in wanted.items()}
    return fresh


@pytest.mark.parametrize("name", MODELS)
def test_recorded_cut_is_made_again_bit_for_bit(name: str) -> None:
    build, x = MODELS[name]
    shrunk = shrink(seeded(build), x)
    assert (shrunk.cut.fallback is None) == (name != "graph")
    fresh = refreshed(shrunk, build, x).eval()
    before = fresh(x)
    fresh.load_state_dict(shrunk.model.state_dict(), strict=True)
    if name == "every kind of tensor":  # neither is kept in a state, nor made alike by every factory
        fresh.passing, fresh.plain = shrunk.model.passing, shrunk.model.plain
    assert not torch.equal(fresh(x), before)
    assert torch.equal(fresh(x), shrunk.model.eval()(x))


@pytest.mark.parametrize("name", MODELS)
def test_recorded_cut_is_made_again_from_the_record_alone(name: str) -> None:
    """The same weights need no state: what is kept of them is in the record."""
    build, x = MODELS[name]
    shrunk = shrink(seeded(build), x)
    again = redo(json.loads(json.dumps(shrunk.cut.record)), seeded(build), x)
    assert repr(again) == repr(shrunk.model)
    assert torch.equal(again.eval()(x), shrunk.model.eval()(x))


@pytest.mark.parametrize("name", ["corrected scale", "graph"])
def test_recorded_cut_is_cut_again(name: str) -> None:
    build, x = MODELS[name]
    shrunk = shrink(seeded(build), x)
    again = redo(json.loads(json.dumps(shrunk.cut.record)), seeded(build), x)
    smaller = shrink(again.eval(), x)
    assert smaller.cut.proof.passed
    count = sum(p.numel() for p in smaller.model.parameters())
    assert count < sum(p.numel() for p in again.parameters())


def test_record_is_plain_json() -> None:
    record = shrink(seeded(OneWidth), TOKENS).cut.record
    assert json.loads(json.dumps(record, allow_nan=False)) == json.loads(json.dumps(record))
    assert record["form"] == "module"
    assert record["corrections"]


LOADER = """
import json, sys
import torch
from safetensors.torch import load_file
from penjing.surgery import redo
from tests.surgery.shrink import seeded
from tests.surgery.test_correct import OneWidth

folder = sys.argv[1]
record = json.load(open(folder + "/record.json"))
model = redo(record, seeded(OneWidth, seed=3)).eval()
model.load_state_dict(load_file(folder + "/model.safetensors"), strict=True)
x = load_file(folder + "/x.safetensors")["x"]
with torch.no_grad():
    torch.save(model(x), folder + "/y.pt")
    torch.save(model.state_dict(), folder + "/state.pt")
"""


def test_recorded_cut_is_made_again_in_another_process(tmp_path: Path) -> None:
    model = own(shrunk := shrink(seeded(OneWidth), TOKENS))
    (tmp_path / "record.json").write_text(json.dumps(shrunk.cut.record))
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    save_file({"x": TOKENS}, tmp_path / "x.safetensors")
    assert load_file(tmp_path / "x.safetensors")["x"].equal(TOKENS)
    subprocess.run([sys.executable, "-c", LOADER, str(tmp_path)], check=True, cwd=Path(__file__).parents[2])
    state = torch.load(tmp_path / "state.pt")
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    with torch.no_grad():
        # The same weights, bit for bit; how kernels round may depend on where they lie in memory.
        torch.testing.assert_close(torch.load(tmp_path / "y.pt"), model(TOKENS), rtol=0, atol=1e-6)


# -- modules that it was not made for --------------------------------------------------------------


def refused(record: Any, model: nn.Module, x: Tensor | None = None) -> PenjingError:
    """The refusal, after which the module must be as it was."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    shown = repr(model)
    with pytest.raises(PenjingError) as caught:
        redo(record, model, x)
    assert repr(model) == shown
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.state_dict().keys() == before.keys()
    assert not any("forward" in vars(module) for module in model.modules())
    return caught.value


@pytest.mark.parametrize("width", [6, 12])
def test_module_of_another_width_is_refused_and_left_alone(width: int) -> None:
    """A wider one would be cut without complaint, to something that was never proven."""
    record = shrink(seeded(Net), IMAGE).cut.record
    error = refused(record, seeded(lambda: Net(width)))
    assert error.code == "PJ206"
    assert f"`conv1.weight` is [{width}, 3, 3, 3], and was [8, 3, 3, 3]" in error.because


def test_module_of_another_architecture_is_refused_and_left_alone() -> None:
    record = shrink(seeded(Net), IMAGE).cut.record
    error = refused(record, seeded(lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3))))
    assert error.code == "PJ206"
    assert "Sequential" in error.what


def test_module_without_an_attribute_that_was_changed_is_refused() -> None:
    class Renamed(Computed):
        def __init__(self) -> None:
            super().__init__()
            del self.n_head

    shrunk = shrink(seeded(Computed), TOKENS)
    assert any(attribute == ["n_head"] for _, attribute, _ in shrunk.cut.record["attributes"])
    error = refused(json.loads(json.dumps(shrunk.cut.record)), seeded(Renamed))
    assert error.code == "PJ206"
    assert "n_head" in error.because


def test_cut_module_is_refused_as_what_it_was_made_from() -> None:
    shrunk = shrink(seeded(Net), IMAGE)
    assert refused(shrunk.cut.record, own(shrunk)).code == "PJ206"


def test_graph_is_not_made_again_without_example_inputs() -> None:
    record = shrink(seeded(Stubborn), ROW).cut.record
    assert record["form"] == "graph"
    error = refused(record, seeded(Stubborn))
    assert error.code == "PJ206"
    assert "example inputs" in error.what


def test_graph_of_another_architecture_is_refused() -> None:
    net = trace(seeded(Net), IMAGE)
    record = cut(net, Keep(every_other(net))).record | {"form": "graph"}
    assert refused(record, seeded(lambda: Net(4)), IMAGE).code == "PJ206"
    assert refused(record, seeded(Stubborn), ROW).code == "PJ206"
