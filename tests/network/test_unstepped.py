from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch._decomp import decomposition_table, decompositions
from torch.utils import _pytree as pytree

from penjing.network import trace
from penjing.network.unstepped import STEPPED, unstepped

CASES = {
    "gru": nn.GRU(5, 6, num_layers=2, bidirectional=True, batch_first=True),
    "lstm": nn.LSTM(5, 6, num_layers=2),
    "lstm_projected": nn.LSTM(5, 6, bidirectional=True, batch_first=True, proj_size=4),
    "rnn_tanh": nn.RNN(5, 6, bias=False),
    "rnn_relu": nn.RNN(5, 6, nonlinearity="relu", bidirectional=True),
}


def sizes(model: nn.Module, x: Tensor) -> list[object]:
    graph = torch.export.export(model.eval(), (x,), strict=False).graph
    tensors = pytree.tree_leaves([node.meta["val"] for node in graph.nodes if node.target in STEPPED])
    return [(one.shape, one.stride(), one.dtype, one.device) for one in tensors]


@pytest.mark.parametrize("model", CASES.values(), ids=CASES)
def test_sizes_are_those_that_the_steps_give(model: nn.Module) -> None:
    x = torch.randn(3, 4, 5)
    walked = sizes(model, x)
    assert len(walked) == (3 if isinstance(model, nn.LSTM) else 2)
    with unstepped():
        assert sizes(model, x) == walked


def test_operators_are_afterwards_as_before_even_when_nested() -> None:
    key = torch._C.DispatchKey.CompositeImplicitAutograd
    before = {op: (decomposition_table[op], op.py_kernels.get(key)) for op in STEPPED}
    with pytest.raises(ZeroDivisionError), unstepped(), unstepped():
        raise ZeroDivisionError
    assert {op: (decomposition_table[op], op.py_kernels.get(key)) for op in STEPPED} == before


def test_steps_are_computed_on_real_tensors_and_written_out_where_they_are_asked_for() -> None:
    model, x = CASES["gru"].eval(), torch.randn(2, 3, 5)
    with torch.no_grad():
        expected = model(x)[0]
        with unstepped():
            assert torch.equal(model(x)[0], expected)
            whole = torch.export.export(model, (x,), strict=False)
            steps = whole.run_decompositions(dict(STEPPED))
        gru = torch.ops.aten.gru.input
        assert gru in [node.target for node in whole.graph.nodes]
        assert gru not in [node.target for node in steps.graph.nodes]
        for program in (whole, steps):
            assert torch.allclose(program.module()(x)[0], expected, atol=1e-6)


def test_trace_of_a_long_sequence_walks_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def walked(*args: object, **kwargs: object) -> None:
        raise AssertionError("step by step")

    monkeypatch.setattr(decompositions, "one_layer_rnn", walked)
    net = trace(CASES["gru"], torch.randn(2, 500, 5))
    assert [operator.target for operator in net.operators if "gru" in operator.target] == ["aten.gru.input"]
