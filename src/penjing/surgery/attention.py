"""`F.multi_head_attention_forward` for attention whose inner width is no longer the width of its inputs.

PyTorch's own takes the head width to be the embedding width over the number of heads, for queries, keys and
values alike. After a cut each is its own: heads x query-key width rows for queries and keys, heads x value
width for values. The scale stays what it was, so that the function is that of the masked original.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def multi_head_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
    *,
    scale: float,
) -> tuple[Tensor, Tensor | None]:
    """Multi-head attention, sequence first, as `torch.nn.functional.multi_head_attention_forward`.

    Args:
        query: [t, b, e] or [t, e].
        key: [s, b, ek] or [s, ek].
        value: [s, b, ev] or [s, ev].
        embed_dim_to_check: ignored; widths are read off the weights.
        num_heads: heads that are left.
        in_proj_weight: rows of queries, keys, values one after another; or None where they are separate.
        in_proj_bias: one entry a row of all three.
        bias_k: an extra key, [1, 1, h*w].
        bias_v: an extra value, [1, 1, h*v].
        add_zero_attn: whether to append a key and value of zeros.
        dropout_p: of the attention weights, in training.
        out_proj_weight: [e, h*v].
        out_proj_bias: [e].
        training: whether dropout is active.
        key_padding_mask: [b, s] or [s]; True (or -inf) is ignored.
        need_weights: whether to return the attention weights.
        attn_mask: [t, s] or [b*heads, t, s]; per-head masks need all heads.
        use_separate_proj_weight: whether the next three are given.
        q_proj_weight: [h*w, e].
        k_proj_weight: [h*w, ek].
        v_proj_weight: [h*v, ev].
        static_k: not supported.
        static_v: not supported.
        average_attn_weights: whether returned weights are averaged over heads.
        is_causal: a hint that `attn_mask` is causal; the mask itself is used.
        scale: of the products of queries and keys, as before the cut.

    Returns:
        Outputs [t, b, e] (or [t, e]) and the weights [b, t, s], [b, h, t, s], or None.

    Raises:
        ValueError: static keys or values are given.
        RuntimeError: a causal hint without the mask.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.
    """
    if is_causal and attn_mask is None:
        raise RuntimeError("is_causal is a hint about attn_mask, which is missing")
    if static_k is not None or static_v is not None:
        raise ValueError("static keys and values are not supported in attention that was cut")
    batched = query.dim() == 3
    if not batched:
        query, key, value = query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1)
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    inner_value = out_proj_weight.shape[1]
    if in_proj_weight is not None and not use_separate_proj_weight:
        inner = (in_proj_weight.shape[0] - inner_value) // 2
        weights = in_proj_weight.split([inner, inner, inner_value])
    else:
        assert q_proj_weight is not None
        assert k_proj_weight is not None
        assert v_proj_weight is not None
        weights = (q_proj_weight, k_proj_weight, v_proj_weight)
        inner = q_proj_weight.shape[0]
    biases = (None,) * 3 if in_proj_bias is None else in_proj_bias.split([inner, inner, inner_value])
    q, k, v = (F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True))
    batch, added = q.shape[1], 0
    if bias_k is not None and bias_v is not None:
        k, v, added = (
            torch.cat([k, bias_k.repeat(1, batch, 1)]),
            torch.cat([v, bias_v.repeat(1, batch, 1)]),
            added + 1,
        )
    q, k, v = (x.unflatten(-1, (num_heads, -1)).permute(1, 2, 0, 3) for x in (q, k, v))
    if add_zero_attn:
        k, v, added = F.pad(k, (0, 0, 0, 1)), F.pad(v, (0, 0, 0, 1)), added + 1
    scores = (q * scale) @ k.transpose(-2, -1)
    scores = _masked(scores, attn_mask, key_padding_mask, added)
    shares = F.dropout(scores.softmax(-1), dropout_p, training)
    output = F.linear((shares @ v).permute(2, 0, 1, 3).flatten(2), out_proj_weight, out_proj_bias)
    shown = None
    if need_weights:
        shown = shares.mean(1) if average_attn_weights else shares
        shown = shown if batched else shown.squeeze(0)
    return (output if batched else output.squeeze(1)), shown


def _masked(scores: Tensor, attn_mask: Tensor | None, key_padding_mask: Tensor | None, added: int) -> Tensor:
    """Scores [b, h, t, s] with -inf (or what a float mask says) added; appended keys are never masked."""
    if attn_mask is not None:
        mask = attn_mask.unflatten(0, (scores.shape[0], -1)) if attn_mask.dim() == 3 else attn_mask
        scores = scores + F.pad(_additive(mask, scores.dtype), (0, added))
    if key_padding_mask is not None:
        scores = scores + F.pad(_additive(key_padding_mask, scores.dtype), (0, added))[:, None, None, :]
    return scores


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(mask, float("-inf"))
