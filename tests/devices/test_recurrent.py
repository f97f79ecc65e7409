from __future__ import annotations

from collections import Counter
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch._decomp import decompositions

from penjing.devices import Artifact, to_onnx
from penjing.devices.feeds import feeds
from penjing.devices.recurrent import TRANSLATIONS
from penjing.devices.session import Session
from penjing.network import Call
from penjing.network.unstepped import STEPPED

# ATen says once per process that it runs an LSTM with projections by its plain implementation.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

STEPS, BATCH, INPUTS, HIDDEN = 7, 3, 5, 6
OPERATORS = {"gru": "GRU", "lstm": "LSTM", "rnn_tanh": "RNN", "rnn_relu": "RNN"}


class Case(NamedTuple):
    layers: int
    bidirectional: bool
    batch_first: bool
    bias: bool
    state: bool

    def __str__(self) -> str:
        flags = ("bidirectional", "batch_first", "bias", "state")
        return "_".join([f"layers{self.layers}", *(flag for flag in flags if getattr(self, flag))])


CASES = [Case(*values) for values in product((1, 2), *[(False, True)] * 4)]


def layer(kind: str, case: Case) -> nn.RNNBase:
    options = {
        "num_layers": case.layers,
        "bidirectional": case.bidirectional,
        "batch_first": case.batch_first,
        "bias": case.bias,
        "dropout": 0.5 if case.layers > 1 else 0.0,
    }
    if kind.startswith("rnn"):
        return nn.RNN(INPUTS, HIDDEN, nonlinearity=kind.removeprefix("rnn_"), **options)
    return {"gru": nn.GRU, "lstm": nn.LSTM}[kind](INPUTS, HIDDEN, **options)


class Every(nn.Module):
    """Layers of one kind with all options, side by side on one sequence; all that they return."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({str(case): layer(kind, case) for case in CASES})

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> dict[str, Tensor]:
        found = {}
        for case in CASES:
            own = self.layers[str(case)]
            rows = case.layers * (2 if case.bidirectional else 1)
            state = (h[:rows], c[:rows]) if isinstance(own, nn.LSTM) else h[:rows]
            y, last = own(x.transpose(0, 1) if case.batch_first else x, state if case.state else None)
            lasts = last if isinstance(last, tuple) else (last,)
            found |= {f"{case}__{index}": one for index, one in enumerate((y, *lasts))}
        return found


class Exported(NamedTuple):
    kind: str
    graph: onnx.GraphProto
    found: dict[str, np.ndarray]
    wanted: dict[str, Tensor]


@pytest.fixture(scope="module", params=OPERATORS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    torch.manual_seed(0)
    model = Every(request.param).eval()
    state = torch.randn(2, 4, BATCH, HIDDEN)
    call = Call((torch.randn(STEPS, BATCH, INPUTS), state[0], state[1]))
    with torch.no_grad():
        wanted = model(*call.args)
    path = tmp_path_factory.mktemp("recurrent") / "model.onnx"
    artifact = to_onnx(model, call, path, free_batch=False)
    found = dict(zip(artifact.outputs, Session(path).run(feeds(call)), strict=True))
    return Exported(request.param, onnx.load(path).graph, found, wanted)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_layer_agrees_with_pytorch_in_all_that_it_returns(exported: Exported, case: Case) -> None:
    names = [name for name in exported.wanted if name.startswith(f"{case}__")]
    assert len(names) == (3 if exported.kind == "lstm" else 2)
    for name in names:
        wanted = exported.wanted[name].numpy()
        assert exported.found[name].shape == wanted.shape
        assert np.abs(exported.found[name] - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_cases_are_of_every_operator_that_is_translated() -> None:
    names = {op.name().removeprefix("aten::").removesuffix(".input") for op in TRANSLATIONS}
    assert names == set(OPERATORS)
    assert TRANSLATIONS.keys() == STEPPED.keys()


def test_file_holds_one_operator_a_layer_and_its_weights_ready(exported: Exported) -> None:
    nodes = [node for node in exported.graph.node if node.op_type in ("GRU", "LSTM", "RNN")]
    assert [node.op_type for node in nodes] == [OPERATORS[exported.kind]] * sum(c.layers for c in CASES)
    weights = {tensor.name for tensor in exported.graph.initializer}
    assert all(name in weights for node in nodes for name in node.input[1:4] if name)
    assert len(exported.graph.node) <= 8 * len(nodes)


class Encoder(nn.Module):
    """Both directions, two layers, wide enough that no optimiser takes the weights for trifles."""

    def __init__(self, kind: str, hidden: int = 192) -> None:
        super().__init__()
        options = {"num_layers": 2, "bidirectional": True, "batch_first": True}
        self.rnn: nn.RNNBase = getattr(nn, kind)(hidden, hidden, **options)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.rnn(x)[0]
        return y


@pytest.mark.parametrize("kind", ["GRU", "LSTM", "RNN"])
def test_weights_are_in_the_file_once_and_nothing_arranges_them_when_it_runs(
    kind: str, tmp_path: Path
) -> None:
    model = Encoder(kind)
    artifact = to_onnx(model, Call((torch.randn(2, 3, 192),)), tmp_path / "model.onnx")
    graph = onnx.load(artifact.path).graph
    weights = {tensor.name for tensor in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == kind]
    assert len(nodes) == 2
    assert all(name in weights for node in nodes for name in node.input[1:4])
    bytes_of_weights = sum(tensor.numel() * 4 for tensor in model.parameters())
    assert bytes_of_weights <= artifact.size_bytes <= bytes_of_weights + 20_000
    assert artifact.agrees


def kinds_of_nodes(artifact: Artifact) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(artifact.path).graph.node)


@pytest.mark.parametrize("kind", ["GRU", "LSTM", "RNN"])
def test_length_of_the_sequence_changes_no_node_and_no_step_is_walked(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def walked(*args: object, **kwargs: object) -> None:
        raise AssertionError("step by step")

    monkeypatch.setattr(decompositions, "one_layer_rnn", walked)
    monkeypatch.setattr(decompositions, "one_layer_lstm", walked)
    found = [
        kinds_of_nodes(to_onnx(Encoder(kind, 8), Call((torch.randn(2, length, 8),)), tmp_path / "model.onnx"))
        for length in (3, 300)
    ]
    assert found[0] == found[1]
    assert found[0].total() <= 14


def test_file_takes_another_batch_and_another_length_where_they_are_first(tmp_path: Path) -> None:
    model = Encoder("GRU", 8).eval()
    artifact = to_onnx(model, Call((torch.randn(1, 4, 8),)), tmp_path / "batch.onnx")
    other = Call((torch.randn(5, 4, 8),))
    assert artifact.static == ""
    assert np.allclose(*Session(artifact.path).run(feeds(other)), model(*other.args).detach(), atol=1e-5)
    model.rnn.batch_first = False
    artifact = to_onnx(model, Call((torch.randn(4, 1, 8),)), tmp_path / "length.onnx")
    other = Call((torch.randn(9, 1, 8),))
    assert artifact.static == ""
    assert np.allclose(*Session(artifact.path).run(feeds(other)), model(*other.args).detach(), atol=1e-5)


def projected() -> nn.Module:
    model = Encoder("LSTM", 8)
    model.rnn = nn.LSTM(8, 6, num_layers=2, bidirectional=True, batch_first=True, proj_size=4)
    return model


@pytest.mark.parametrize("free_batch", [True, False])
@pytest.mark.parametrize("model", [projected(), Encoder("GRU", 8).double()], ids=["projections", "float64"])
def test_layer_that_no_runtime_has_is_written_step_by_step(
    model: nn.Module, free_batch: bool, tmp_path: Path
) -> None:
    x = torch.randn(2, 3, 8, dtype=next(model.parameters()).dtype)
    artifact = to_onnx(model, Call((x,)), tmp_path / "model.onnx", free_batch=free_batch)
    assert artifact.agrees
    assert not kinds_of_nodes(artifact).keys() & {"GRU", "LSTM", "RNN"}
