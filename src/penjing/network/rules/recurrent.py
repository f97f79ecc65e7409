"""LSTM, GRU and plain recurrent networks: layers, directions, projections; and their cells."""

from __future__ import annotations

from penjing.axes import Dim, Space
from penjing.network.op import Dims, Op
from penjing.network.rules import ties

_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


def recurrent(op: Op, axes: Space) -> None:
    """rnn(x[t b i], h[l*d b p], w_ih[g*h i], w_hh[g*h p], bias[g*h]..., w_hr[p h]?) -> y[t b d*p], h[l*d b p]

    Every layer and direction shares one hidden size: the operator stacks their states in one tensor.
    """
    kind = op.name.removeprefix("aten.")
    x = op.dims("input" if "input" in op.arguments else "data")
    states = op.many("hx") if isinstance(op.value("hx"), list | tuple) else [op.maybe("hx")]
    weights = [dims for dims in op.many("params") if dims is not None]
    directions = 2 if op.value("bidirectional") else 1
    layers = op.value("num_layers")
    per_cell = len(weights) // (layers * directions)
    hidden = axes.atom(axes.size(weights[0][0]) // _GATES[kind])
    projected = per_cell in (3, 5)
    shown = axes.atom(axes.size(weights[1][1])) if projected else hidden
    feeds = x[-1]
    for layer in range(layers):
        for direction in range(directions):
            at = (layer * directions + direction) * per_cell
            cell = weights[at : at + per_cell]
            axes.tie(cell[0][1], feeds)
            axes.tie(cell[1][1], shown)
            if projected:
                axes.tie(cell[-1][0], shown)
                axes.tie(cell[-1][1], hidden)
            for gated in cell[:-1] if projected else cell:
                axes.tie(gated[0], axes.product(_gates(axes, kind), hidden))
        feeds = axes.sum(*[shown] * directions)
    ties.same(axes, op.output, (*x[:-1], feeds))
    batch = _batch(op, axes, x)
    for place, state in enumerate([*states, *op.outputs[1:]]):
        if state:
            cell_state = kind == "lstm" and place % 2 == 1
            ties.same(axes, state[1:], (batch, hidden if cell_state else shown))
            axes.freeze(state[0], "layers and directions of one recurrent operator are not units")
    op.role(hidden, "hidden")
    if projected:
        op.role(shown, "projection")
        op.differ(shown, hidden)
    op.contracts = True


def cell(op: Op, axes: Space) -> None:
    """cell(x[b i], h[b n]..., w_ih[g*n i], w_hh[g*n n], biases[g*n]) -> h[b n]..."""
    kind = op.name.removeprefix("aten.").removesuffix("_cell")
    x, w_ih, w_hh = op.dims("input"), op.dims("w_ih"), op.dims("w_hh")
    states = op.many("hx") if isinstance(op.value("hx"), list | tuple) else [op.maybe("hx")]
    hidden = w_hh[1]
    axes.tie(x[-1], w_ih[1])
    vectors: list[Dims] = [dims for name in ("b_ih", "b_hh") if (dims := op.maybe(name))]
    for gated in (w_ih, w_hh, *vectors):
        axes.tie(gated[0], axes.product(_gates(axes, kind), hidden))
    for state in [*states, *op.outputs]:
        if state:
            axes.tie(state[-1], hidden)
            ties.broadcast(axes, x[:-1], state[:-1])
    op.role(hidden, "hidden")
    op.contracts = True


def _batch(op: Op, axes: Space, x: Dims) -> Dim:
    """The dimension of the sequences in a batch; the steps of each are frozen."""
    if "batch_sizes" in op.arguments:  # packed: steps and sequences lie behind each other in one dimension
        batch = ties.outputs(op)[1][1]
        ties.freeze(axes, (x[0], batch, *op.dims("batch_sizes")), "steps of packed sequences are not units")
        return batch
    steps, batch = (x[1], x[0]) if op.value("batch_first") else (x[0], x[1])
    axes.freeze(steps, "steps in time are not units")
    return batch


def _gates(axes: Space, kind: str) -> Dim:
    gates = axes.atom(_GATES[kind])
    axes.freeze(gates, "gates are not units")
    return gates
