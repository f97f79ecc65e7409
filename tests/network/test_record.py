"""What `torch.export` refuses is recorded from one execution, and says so."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._higher_order_ops import while_loop
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.utils import _pytree as pytree

from penjing.errors import PenjingError
from penjing.network import Network, trace
from penjing.surgery.graph import GraphNetwork, rewrite
from penjing.surgery.proof import Reference
from penjing.surgery.selection import Selection
from tests.zoo.entry import Entry
from tests.zoo.models.multi_output import Estimate
from tests.zoo.registry import ENTRIES

HERE = Path(__file__)
REFUSED = [entry for entry in ENTRIES if entry.refused]
RECORDED = [entry for entry in REFUSED if entry.name != "regressor_plain_dataclass"]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def halved(net: Network) -> dict[str, tuple[int, ...]]:
    draw = random.Random(0)
    return {a.name: tuple(sorted(draw.sample(range(a.size), max(1, a.size // 2)))) for a in net.prunable}


def proven(net: Network) -> GraphNetwork:
    """Half of every axis cut, which the proof confirms."""
    selection = Selection(net, halved(net))
    model = rewrite(net, selection)
    proof = Reference(net, selection).check(model)
    assert proof.passed, proof
    return model


def line_of(words: str) -> str:
    """File and line of this test file at which `words` stand first."""
    lines = HERE.read_text(encoding="utf-8").splitlines()
    return f"{HERE}:{next(number for number, line in enumerate(lines, 1) if words in line)}"


def operators(net: Network) -> list[str]:
    return [operator.target for operator in net.operators]


@pytest.mark.parametrize("entry", REFUSED, ids=str)
def test_refused_model_is_traced_cut_and_proven(entry: Entry) -> None:
    net = trace(entry.build(), entry.inputs())
    assert net.coverage > 0.95
    smaller = proven(net)
    assert sum(p.numel() for p in smaller.parameters()) < 0.6 * net.parameters


@pytest.mark.parametrize("entry", RECORDED, ids=str)
def test_recorded_network_says_why_and_where(entry: Entry) -> None:
    net = trace(entry.build(), entry.inputs())
    assert net.trace.specialised is not None
    assert "Could not guard on data-dependent expression" in net.trace.specialised
    file, _, line = net.trace.specialised.split("`")[0].removesuffix(", ").split()[-1].rpartition(":")
    assert (
        net.trace.specialised.split("`")[1]
        in Path(file).read_text(encoding="utf-8").splitlines()[int(line) - 1]
    )
    assert "\n" not in net.trace.specialised
    assert f"specialised to the example inputs: {net.trace.specialised}" in str(net)


def test_recorded_network_has_the_axes_of_the_path_taken_and_no_others() -> None:
    entry = next(entry for entry in REFUSED if entry.name == "early_exit")
    net = trace(entry.build(), entry.inputs())
    assert {axis.name: axis.size for axis in net.prunable} == {"stage1.0": 12, "stage2.0": 20}
    frozen = {axis.name: axis.frozen for axis in net.axes if axis.frozen}
    assert frozen["exit1"] == frozen["exit1:in"] == "no operator that depends on the inputs carries it"
    assert net.trace.specialised is not None
    assert "early_exit.py:22, `if first.softmax(-1).max(-1).values.min().item() > self.threshold:`" in (
        net.trace.specialised
    )


class Everything(nn.Module):
    """Composite operators, called under a condition that is looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.inner = nn.ModuleDict({"project": nn.Linear(8, 12), "layer": nn.LayerNorm(12)})
        self.rnn = nn.LSTM(12, 6, batch_first=True)
        self.head = nn.Linear(6, 4)

    def forward(self, image: Tensor, *, steps: int = 1, scale: float | None = None) -> dict[str, Any]:
        x = self.norm(self.conv(image)).flatten(2).mT
        for _ in range(steps):
            x = self.inner["layer"](self.inner["project"](x))
        if x.sum().item() > 1e9:
            x = -x
        q = x.unflatten(-1, (3, 4)).transpose(1, 2)
        x = nn.functional.scaled_dot_product_attention(q, q, q).transpose(1, 2).flatten(2)
        x, _ = self.rnn(x)
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            scores = self.head(x[:, -1])
        return {"scores": scores if scale is None else scores * scale, "steps": steps, "none": None}


def test_recording_keeps_composite_operators_whole() -> None:
    net = trace(Everything().eval(), torch.randn(2, 3, 4, 4))
    assert net.trace.specialised is not None
    for name in ("conv2d", "batch_norm", "linear", "layer_norm", "scaled_dot_product_attention", "lstm"):
        assert any(target.startswith(f"aten.{name}.") for target in operators(net)), name
    assert not any(net.opaque)
    proven(net)


def test_recording_names_the_module_that_called_each_operator() -> None:
    net = trace(Everything().eval(), torch.randn(2, 3, 4, 4))
    modules = {operator.target.split(".")[1]: operator.module for operator in net.operators}
    assert modules["conv2d"] == "conv"
    assert modules["layer_norm"] == "inner.layer"
    assert modules["lstm"] == "rnn"
    assert modules["scaled_dot_product_attention"] == ""


def test_recording_gives_the_same_graph_as_the_exporter() -> None:
    """The same model without the question about a value: same operators, same axes."""

    class Unasked(Everything):
        def forward(self, image: Tensor, *, steps: int = 1, scale: float | None = None) -> dict[str, Any]:
            x = self.norm(self.conv(image)).flatten(2).mT
            x = self.inner["layer"](self.inner["project"](x))
            q = x.unflatten(-1, (3, 4)).transpose(1, 2)
            x = nn.functional.scaled_dot_product_attention(q, q, q).transpose(1, 2).flatten(2)
            x, _ = self.rnn(x)
            return {"scores": self.head(x[:, -1]), "steps": steps, "none": None}

    image = torch.randn(2, 3, 4, 4)
    recorded, exported = trace(Everything().eval(), image), trace(Unasked().eval(), image)
    assert exported.trace.specialised is None
    assert operators(recorded) == operators(exported)
    assert recorded.axes == exported.axes
    assert recorded.macs == exported.macs


def test_recording_returns_the_structure_and_the_plain_values_of_the_original() -> None:
    model = Everything().eval()
    inputs = {"image": torch.randn(2, 3, 4, 4), "scale": 2.0, "steps": 1}
    net = trace(model, inputs)
    same = rewrite(net, Selection(net, {})).eval()(**inputs)
    expected = model(**inputs)
    assert list(same) == list(expected)
    assert (same["steps"], same["none"]) == (1, None)
    torch.testing.assert_close(same["scores"], expected["scores"])
    assert net.trace.inputs == ("image", "scale", "steps")


class Asks(nn.Module):
    """Looks at a value, then does what it is told."""

    def __init__(self, then: Callable[[Asks, Tensor], Any], width: int = 8) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, width), nn.Linear(width, 3)
        self.then = then

    def forward(self, x: Tensor) -> Any:
        assert bool(x.sum() < 1e9)
        return self.then(self, x)


def recorded(then: Callable[[Asks, Tensor], Any]) -> Network:
    net = trace(Asks(then).eval(), torch.randn(4, 6))
    assert net.trace.specialised is not None
    return net


def test_recording_follows_boolean_indexing_whose_size_depends_on_values() -> None:
    def picks(m: Asks, x: Tensor) -> Tensor:
        h = m.first(x).relu()
        return m.second(h[h.sum(-1) > 0])

    net = recorded(picks)
    assert [axis.name for axis in net.prunable] == ["first"]
    proven(net)


def test_recording_follows_loops_over_indices_that_values_give() -> None:
    def routes(m: Asks, x: Tensor) -> Tensor:
        h = m.first(x).relu()
        out = torch.zeros(len(x), 3, dtype=x.dtype)
        for row in (x[:, 0] > 0).nonzero():
            out.index_add_(0, row, m.second(h[row]))
        return out + m.second(h)

    net = recorded(routes)
    assert "first" in {axis.name for axis in net.prunable}
    proven(net)


def test_recording_follows_changes_in_place() -> None:
    def changes(m: Asks, x: Tensor) -> Tensor:
        h = m.first(x)
        h[:, :4] = 0.5
        h.relu_()
        h += 1.0
        return m.second(h)

    net = recorded(changes)
    assert {axis.name.partition(":")[0] for axis in net.prunable} == {"first"}
    proven(net)


def test_recording_follows_data_behind_autograds_back() -> None:
    net = recorded(lambda m, x: nn.functional.linear(m.first(x).data, m.second.weight.data))
    assert {axis.name for axis in net.prunable} == {"first"}
    proven(net)


def test_recording_keeps_constants_of_the_code_apart_from_tensors_of_the_module() -> None:
    def shifts(m: Asks, x: Tensor) -> Tensor:
        return m.second(m.first(x) * m.scale + torch.tensor([0.5, 1.5] * 4))

    model = Asks(shifts).eval()
    model.scale = torch.linspace(1, 2, 8)
    net = trace(model, torch.randn(4, 6))
    names = {name for name, _ in net.trace.constants.values()}
    assert "scale" in names
    assert any(name.startswith("lifted_tensor") for name in names)
    assert ("scale", 0) in {(m.tensor, m.dim) for m in net.axis("first").members}
    proven(net)


def test_recording_knows_a_tied_parameter_under_each_of_its_names() -> None:
    model = Asks(lambda m, x: m.second(m.first(x)))
    model.also = model.first
    net = trace(model.eval(), torch.randn(4, 6))
    assert {m.tensor for m in net.axis("first").members} == {
        "first.weight", "first.bias", "second.weight", "also.weight", "also.bias",
    }  # fmt: skip
    proven(net)


def test_recording_on_other_values_takes_the_other_path() -> None:
    def either(m: Asks, x: Tensor) -> Tensor:
        return m.second(m.first(x)) if x[0, 0].item() > 0 else m.second(m.first(x).relu())

    paths = [operators(trace(Asks(either).eval(), torch.full((4, 6), value))) for value in (1.0, -1.0)]
    assert "aten.relu.default" not in paths[0]
    assert "aten.relu.default" in paths[1]


@dataclass
class Box:
    corners: Tensor
    label: str = "box"


@dataclass(frozen=True, slots=True)
class Boxes:
    """Nested, frozen, without `__dict__`, with a field that only `__post_init__` sets."""

    first: Box
    others: tuple[Box, ...]
    count: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        assert isinstance(self.first.corners, Tensor)
        object.__setattr__(self, "count", 1 + len(self.others))


@pytest.mark.parametrize("asks", [False, True], ids=["exported", "recorded"])
def test_outputs_in_unknown_dataclasses_are_opened_and_closed_again(asks: bool) -> None:
    def boxes(m: Asks, x: Tensor) -> Boxes:
        y = m.second(m.first(x))
        return Boxes(Box(y, "one"), (Box(-y), Box(y * 2, "three")))

    class Plain(Asks):
        def forward(self, x: Tensor) -> Any:
            return self.then(self, x)

    model = (Asks if asks else Plain)(boxes).eval()
    x = torch.randn(4, 6)
    net = trace(model, x)
    assert (net.trace.specialised is not None) == asks
    assert net.axis("second").frozen == "dimension 1 of output `first.corners`"
    out = rewrite(net, Selection(net, {})).eval()(x)
    assert isinstance(out, Boxes)
    assert (out.first.label, out.others[1].label, out.count) == ("one", "three", 3)
    torch.testing.assert_close(out.others[0].corners, model(x).others[0].corners)
    proven(net)


def test_unknown_dataclass_stays_unknown_to_torch() -> None:
    entry = next(entry for entry in REFUSED if entry.name == "regressor_plain_dataclass")
    net = trace(entry.build(), entry.inputs())
    assert net.trace.specialised is None
    assert Estimate not in pytree.SUPPORTED_NODES
    assert isinstance(proven(net).eval()(*entry.inputs()), Estimate)


def test_refusal_leaves_the_terminal_silent_but_for_the_models_own_words(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def speaks(m: Asks, x: Tensor) -> Tensor:
        print("hello from the model", file=sys.stderr)
        if m.first(x).sum().item() > 1e9:
            return x
        return m.second(m.first(x))

    trace(Asks(speaks).eval(), torch.randn(4, 6))
    captured = capfd.readouterr()
    assert captured.out == ""
    assert set(captured.err.splitlines()) == {"hello from the model"}


# -- what cannot be traced at all


def failure(then: Callable[[Asks, Tensor], Any], inputs: Any = None) -> PenjingError:
    with pytest.raises(PenjingError) as caught:
        trace(Asks(then).eval(), torch.randn(4, 6) if inputs is None else inputs)
    assert caught.value.code == "PJ103"
    assert caught.value.tries
    return caught.value


def test_recording_refuses_values_that_leave_torch_and_come_back() -> None:
    def through_numpy(m: Asks, x: Tensor) -> Tensor:
        h = m.first(x).detach().numpy()  # leaves torch
        return m.second(torch.from_numpy(np.tanh(h)))

    error = failure(through_numpy)
    assert "values leave torch" in error.because
    assert error.path == line_of("# leaves torch")


def test_recording_refuses_lists_of_values_made_into_tensors() -> None:
    def through_lists(m: Asks, x: Tensor) -> Tensor:
        rows = m.first(x).tolist()  # leaves as a list
        return m.second(torch.tensor([[max(value, 0.0) for value in row] for row in rows]))

    assert failure(through_lists).path == line_of("# leaves as a list")


def test_recording_takes_lists_of_indices_that_only_decide() -> None:
    def decides(m: Asks, x: Tensor) -> Tensor:
        order = x[:, 0].argsort().tolist()
        return torch.stack([m.second(m.first(x[row])) for row in order])

    net = recorded(decides)
    assert {axis.name for axis in net.prunable} == {"first"}
    proven(net)


def test_recording_refuses_outputs_that_no_input_reaches() -> None:
    error = failure(lambda m, x: m.second(m.first.bias * float(x.sum())))
    assert "no output depends on an input" in error.because
    assert error.path.startswith(str(HERE))


def test_recording_refuses_outputs_in_classes_it_cannot_look_into() -> None:
    class Opaque:
        def __init__(self, held: Tensor) -> None:
            self.held = held

    error = failure(lambda m, x: Opaque(m.second(m.first(x))))
    assert "returns a" in error.because
    assert "Opaque" in error.because
    assert error.path == line_of("def forward(self, x: Tensor) -> Any:")


def test_tracing_refuses_inputs_in_classes_it_cannot_look_into() -> None:
    class Opens(nn.Linear):
        def forward(self, box: Box) -> Tensor:
            return super().forward(box.corners)

    with pytest.raises(PenjingError, match="PJ103") as caught:
        trace(Opens(6, 3).eval(), (Box(torch.randn(4, 6)),))
    assert "takes a `Box`" in caught.value.because
    assert any("register" in way for way in caught.value.tries)


class Branches(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        forward = super().forward
        return torch.cond(x.sum() > 0, lambda y: forward(y), lambda y: forward(-y), (x,))


class Repeats(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        forward = super().forward
        start = torch.tensor(0), x
        return while_loop(lambda i, h: i < 3, lambda i, h: (i + 1, forward(h)), start)[1]


@pytest.mark.parametrize("kind", [Branches, Repeats])
def test_tracing_refuses_operators_that_hold_graphs_of_their_own(kind: type[nn.Linear]) -> None:
    with pytest.raises(PenjingError, match="PJ103") as caught:
        trace(kind(6, 6).eval(), torch.randn(4, 6))
    assert "holds graphs of its own" in caught.value.because
    assert caught.value.path.startswith(str(HERE))


def test_recording_that_fails_names_the_line_and_both_reasons() -> None:
    def shy(m: Asks, x: Tensor) -> Tensor:
        if get_proxy_mode() is not None:
            raise RuntimeError("not under a tracer")  # raised here
        return m.second(m.first(x))

    error = failure(shy)
    assert "recording: RuntimeError: not under a tracer" in error.because
    assert "torch.export: GuardOnDataDependentSymNode" in error.because
    assert error.path == line_of("# raised here")
