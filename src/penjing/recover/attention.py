"""Attention maps of a model while it runs, and their distance from those of the original."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from penjing.errors import PenjingError

_aten = torch.ops.aten
_ATTENTION = {F.scaled_dot_product_attention, _aten.scaled_dot_product_attention.default}
_SOFTMAX = {F.softmax, torch.softmax, Tensor.softmax, _aten.softmax.int}


class Attention(TorchFunctionMode):
    """Inside, every attention of whatever module leaves its map in `maps`, averaged over heads.

    Seen are `scaled_dot_product_attention`, `multi_head_attention_forward`, and attention written out: a
    softmax over the last of four dimensions; in a user's module as in a rewritten graph.

    Attributes:
        maps: in order of execution, [batch, queries, keys], float32 or wider; rows add up to 1.
    """

    def __init__(self) -> None:
        super().__init__()
        self.maps: list[Tensor] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs `func`, and looks at attention."""
        given = dict(kwargs or {})
        if func is F.multi_head_attention_forward:
            wanted = given.get("need_weights", True)
            averaged = given.get("average_attn_weights", True)
            output, weights = func(*args, **{**given, "need_weights": True, "average_attn_weights": False})
            batched = weights if weights.ndim == 4 else weights.unsqueeze(0)
            self.maps.append(_averaged(batched))
            return output, (weights.mean(-3) if averaged else weights) if wanted else None
        result = func(*args, **given)
        if func in _ATTENTION:
            self.maps.append(attention_map(*args, **given))
        elif func in _SOFTMAX and result.ndim == 4:
            dim = given.get("dim", args[1] if len(args) > 1 else None)
            if dim in (-1, 3):
                self.maps.append(_averaged(result))
        return result


def attention_map(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(q k' * scale + mask), averaged over heads; the arguments are those of torch's attention.

    Args:
        query: [..., heads, t, w].
        key: [..., heads, s, w]; of fewer heads where they are shared among queries.
        value: not looked at.
        attn_mask: broadcast to [..., heads, t, s]; True (or 0) is seen.
        dropout_p: left out.
        is_causal: whether queries see no later keys.
        scale: 1 / sqrt(w) where None.
        enable_gqa: whether keys are shared.

    Returns:
        [batch, t, s].
    """
    query, key = query.float(), key.float()
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    lowest = torch.finfo(scores.dtype).min / 2  # finite: a row that sees nothing must not be NaN
    if is_causal:
        seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~seen, lowest)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, lowest)
    elif attn_mask is not None:
        scores = (scores + attn_mask).clamp_min(lowest)
    return _averaged(scores.softmax(-1))


def attention_loss(mine: list[Tensor], theirs: list[Tensor]) -> Tensor:
    """Kullback-Leibler divergence of the last attention from that of the original, mean over queries.

    Only the last: so no layer of one model need correspond to a layer of the other. Heads are averaged
    before, not after, for a cut model has fewer of them.

    Raises:
        PenjingError: PJ317, one of them attends nowhere, or their maps differ in shape.

    Source: Wang et al. 2020, arXiv:2002.10957 (MiniLM), eq. 5, but for the heads.
    """
    if not mine or not theirs or mine[-1].shape != theirs[-1].shape:
        why = (
            f"the last map is {tuple(mine[-1].shape)}, that of the original {tuple(theirs[-1].shape)}"
            if mine and theirs
            else f"the {'original' if mine else 'cut model'} runs no attention that is known"
        )
        raise PenjingError(
            "PJ317",
            "attention cannot be compared with that of the original",
            because=why,
            tries=["attention_weight=0", 'transformers: attn_implementation="sdpa" or "eager"'],
        )
    tiny = torch.finfo(mine[-1].dtype).tiny
    aim, found = theirs[-1].clamp_min(tiny), mine[-1].clamp_min(tiny)
    return (aim * (aim.log() - found.log())).sum(-1).mean()


def _averaged(maps: Tensor) -> Tensor:
    """[..., heads, t, s] -> [batch, t, s]."""
    return maps.float().mean(-3).reshape(-1, *maps.shape[-2:])
