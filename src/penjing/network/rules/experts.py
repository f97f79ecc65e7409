"""Products of rows with the weights of the expert that each row was sent to."""

from __future__ import annotations

from penjing.axes import Space
from penjing.network.op import Op
from penjing.network.rules import ties

SENT = "rows stand where their expert's rows begin and end"
EXPERTS = "experts are chosen by value"


def grouped_mm(op: Op, axes: Space) -> None:
    """grouped_mm(x[s i], w[e i o], offsets[e]) -> y[s o]

    Of x and w, one or both may lack e; then rows (or columns, or the summed index) lie behind each other in
    segments that end at the offsets: x[e n i], w[i s] -> y[n s]; x[n s], w[s m] -> y[e n m]. With both, and
    no offsets, it is a batch of products.
    """
    x, w, *extra = op.inputs()
    y = op.output
    if len(x) == len(w) == 3:
        axes.tie(x[0], w[0])
        axes.tie(x[0], y[0])
    else:
        ties.freeze(axes, (dims[0] for dims in (x, w, y) if len(dims) == 3), EXPERTS)
        ties.freeze(axes, extra[0], EXPERTS)
    if len(w) == 2 or len(x) == 2:
        segmented = x[0] if len(w) == 3 else w[1] if len(x) == 3 else x[1]
        axes.freeze(segmented, SENT)
    axes.tie(x[-1], w[-2])
    ties.same(axes, y[-2:], (x[-2], w[-1]))
    op.contracts = True
