"""Scaled dot product attention, with grouped queries."""

from __future__ import annotations

from penjing.axes import Space
from penjing.network.op import Op
from penjing.network.rules import ties

FUSED = "fused attention has one width for everything"


def scaled_dot_product_attention(op: Op, axes: Space) -> None:
    """sdpa(q[*b l e], k[*b s e], v[*b s f], mask[*b l s]?) -> y[*b l f], logsumexp[*b l]?

    With grouped queries b ends in heads of which each group of queries reads one of k and v: g*r, g, g.
    """
    q, k, v, y = op.dims("query"), op.dims("key"), op.dims("value"), op.output
    ties.same(axes, (k[-1], v[-2], y[-2], y[-1]), (q[-1], k[-2], q[-2], v[-1]))
    if "flash" in op.name:  # the fused kernel knows one width
        axes.tie(q[-1], v[-1])
    ties.broadcast(axes, q[:-2], y[:-2])
    lead = y[:-2]
    if _is_grouped(op, axes):
        groups, queries = axes.factor(q[-3], (axes.size(k[-3]), axes.size(q[-3]) // axes.size(k[-3])))
        op.role(groups, "key-value heads")
        op.role(queries, "queries per head")
        lead = (*lead[:-1], groups)
    elif len(lead) > 1:
        op.role(q[-3], "heads")
    for dims in (k, v):
        ties.broadcast(axes, dims[:-2], lead)
    ties.broadcast(axes, op.maybe("attn_mask") or (), (*y[:-1], k[-2]))
    if op.arguments.get("is_causal"):
        ties.freeze(axes, (q[-2], k[-2]), "causal attention depends on positions")
    op.role(q[-1], "query-key width")
    op.role(v[-1], "value width")
    for extra in ties.outputs(op)[1:]:
        ties.same(axes, extra, y[: len(extra)])
    if op.value("scale") is None:
        op.pin("scale", axes.size(q[-1]) ** -0.5)
    op.normalises = True


def multi_head_attention(op: Op, axes: Space) -> None:
    """_native_multi_head_attention(q[b l e], k[b s e], v[b s e], weights...) -> y[b l e], shares[b l s]?

    The fused form knows one width, of which heads and their width are stated parts: none can be cut alone.
    """
    q, k, v, mask = op.dims("query"), op.dims("key"), op.dims("value"), op.maybe("mask") or ()
    projection, bias = op.dims("proj_weight"), op.dims("proj_bias")
    ties.same(axes, (q[0], k[0], k[1]), (k[0], v[0], v[1]))
    ties.same(axes, op.output, (*q[:2], projection[0]))
    axes.tie(bias[0], projection[0])
    for shares in ties.outputs(op)[1:]:
        ties.same(axes, shares[:1], q[:1])
        ties.freeze(axes, shares[1:], FUSED)
    inside = (*op.dims("qkv_weight"), *op.dims("qkv_bias"), projection[1])
    ties.freeze(axes, (q[-1], k[-1], v[-1], *inside, *mask), FUSED)
    op.normalises = True


def _is_grouped(op: Op, axes: Space) -> bool:
    """Whether several query heads read one key-value head: fused kernels see it, the other is told."""
    q, k = op.dims("query"), op.dims("key")
    told = op.arguments.get("enable_gqa") or "flash" in op.name
    return bool(told) and len(q) > 2 and axes.size(q[-3]) != axes.size(k[-3])
