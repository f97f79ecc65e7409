"""Scaled dot product attention, with grouped queries."""

from __future__ import annotations

from penjing.axes import Space
from penjing.network.op import Op
from penjing.network.rules.elementwise import tie_broadcast


def scaled_dot_product_attention(op: Op, axes: Space) -> None:
    """sdpa(q[*b l e], k[*b s e], v[*b s f], mask[*b l s]?) -> y[*b l f]; with enable_gqa b ends in heads: g*r, g, g"""
    q, k, v, y = op.dims("query"), op.dims("key"), op.dims("value"), op.output
    axes.tie(q[-1], k[-1])
    axes.tie(k[-2], v[-2])
    axes.tie(y[-2], q[-2])
    axes.tie(y[-1], v[-1])
    tie_broadcast(axes, q[:-2], y[:-2])
    lead = len(q) - 2
    if op.arguments.get("enable_gqa") and axes.size(q[-3]) != axes.size(k[-3]):
        groups, queries = axes.factor(q[-3], (axes.size(k[-3]), axes.size(q[-3]) // axes.size(k[-3])))
        axes.tie(k[-3], groups)
        axes.tie(v[-3], groups)
        op.role(groups, "key-value heads")
        op.role(queries, "queries per head")
        lead -= 1
    elif lead > 1:
        op.role(q[-3], "heads")
    for dims in (k, v):
        tie_broadcast(axes, dims[: len(dims) - len(q) + lead], y[:lead])
    mask = op.maybe("attn_mask")
    if mask:
        tie_broadcast(axes, mask, (*y[:-1], k[-2]))
    if op.arguments.get("is_causal"):
        for dim in (q[-2], k[-2]):
            axes.freeze(dim, "causal attention depends on positions")
    op.role(q[-1], "query-key width")
    op.role(v[-1], "value width")
    for extra in op.outputs[1:]:
        for place, dim in enumerate(extra or ()):
            axes.tie(dim, y[place])
    if op.value("scale") is None:
        op.pin("scale", axes.size(q[-1]) ** -0.5)
    op.normalises = True
