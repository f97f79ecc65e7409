"""Attention whose widths part: against PyTorch's own where all agree, against loops where they do not."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from penjing.network import Axis
from penjing.surgery.attention import multi_head_attention
from tests.surgery.shrink import apart, own, seeded, shrink, those


@dataclass(frozen=True)
class Case:
    """How attention is called."""

    embed: int = 12
    kdim: int = 12
    vdim: int = 12
    heads: int = 3
    bias: bool = True
    bias_kv: bool = False
    zero_attn: bool = False
    separate: bool = False
    attn_mask: str | None = None
    padding: str | None = None
    need_weights: bool = True
    average: bool = True
    batched: bool = True
    training: bool = False
    dropout: float = 0.0
    is_causal: bool = False


T, S, B = 4, 5, 2


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def arguments(case: Case) -> dict[str, Any]:
    e, length = case.embed, T if case.is_causal else S
    separate = case.separate or case.kdim != e or case.vdim != e
    shape = (lambda n, w: (n, B, w)) if case.batched else (lambda n, w: (n, w))
    masks = {
        None: None,
        "bool": drawn(T, length, seed=7) > 0.8,
        "float": drawn(T, length, seed=7),
        "causal": torch.triu(torch.ones(T, length, dtype=torch.bool), 1),
        "heads": drawn((B if case.batched else 1) * case.heads, T, length, seed=7) > 0.8,
    }
    padding = torch.zeros((B, length) if case.batched else (length,), dtype=torch.bool)
    padding[..., -1] = True
    paddings = {None: None, "bool": padding, "float": padding.double() * -3.0}
    return {
        "query": drawn(*shape(T, e), seed=1),
        "key": drawn(*shape(length, case.kdim), seed=2),
        "value": drawn(*shape(length, case.vdim), seed=3),
        "embed_dim_to_check": e,
        "num_heads": case.heads,
        "in_proj_weight": None if separate else drawn(3 * e, e, seed=4),
        "in_proj_bias": drawn(3 * e, seed=5) if case.bias else None,
        "bias_k": drawn(1, 1, e, seed=6) if case.bias_kv else None,
        "bias_v": drawn(1, 1, e, seed=8) if case.bias_kv else None,
        "add_zero_attn": case.zero_attn,
        "dropout_p": case.dropout,
        "out_proj_weight": drawn(e, e, seed=9),
        "out_proj_bias": drawn(e, seed=10) if case.bias else None,
        "training": case.training,
        "key_padding_mask": paddings[case.padding],
        "need_weights": case.need_weights,
        "attn_mask": masks[case.attn_mask],
        "use_separate_proj_weight": separate,
        "q_proj_weight": drawn(e, e, seed=11) if separate else None,
        "k_proj_weight": drawn(e, case.kdim, seed=12) if separate else None,
        "v_proj_weight": drawn(e, case.vdim, seed=13) if separate else None,
        "average_attn_weights": case.average,
        "is_causal": case.is_causal,
    }


DEFAULT = Case()
CASES = [
    DEFAULT,
    *(
        replace(DEFAULT, need_weights=flag, average=other)
        for flag in (True, False)
        for other in (True, False)
    ),
    *(replace(DEFAULT, heads=heads) for heads in (1, 12)),
    *(replace(DEFAULT, bias=flag, bias_kv=other) for flag in (True, False) for other in (True, False)),
    *(replace(DEFAULT, bias_kv=flag, zero_attn=True) for flag in (True, False)),
    *(replace(DEFAULT, attn_mask=mask) for mask in ("bool", "float", "heads")),
    *(replace(DEFAULT, padding=padding) for padding in ("bool", "float")),
    replace(DEFAULT, attn_mask="bool", padding="bool", need_weights=False),
    replace(DEFAULT, attn_mask="float", padding="float"),
    replace(DEFAULT, attn_mask="bool", padding="bool", bias_kv=True, zero_attn=True),
    replace(DEFAULT, attn_mask="causal", is_causal=True, need_weights=False),
    replace(DEFAULT, attn_mask="causal", is_causal=True, padding="bool", need_weights=False),
    *(replace(DEFAULT, batched=False, average=flag) for flag in (True, False)),
    replace(DEFAULT, batched=False, attn_mask="heads", padding="bool"),
    replace(DEFAULT, batched=False, need_weights=False, bias_kv=True),
    replace(DEFAULT, separate=True),
    *(replace(DEFAULT, kdim=7, vdim=5, bias=flag) for flag in (True, False)),
    replace(DEFAULT, kdim=7, vdim=5, batched=False),
    replace(DEFAULT, dropout=0.5, training=False),
    replace(DEFAULT, dropout=0.5, training=True),
    replace(DEFAULT, dropout=1.0, training=True),
]


@pytest.mark.parametrize("case", list(dict.fromkeys(CASES)), ids=repr)
def test_attention_is_that_of_pytorch_when_all_widths_agree(case: Case) -> None:
    given = arguments(case)
    torch.manual_seed(0)
    output, weights = F.multi_head_attention_forward(**given)
    torch.manual_seed(0)
    ours, shown = multi_head_attention(**given, scale=(case.embed // case.heads) ** -0.5)
    assert ours.shape == output.shape
    assert torch.allclose(ours, output, rtol=0, atol=1e-12)
    assert (shown is None) == (weights is None)
    if weights is not None:
        assert shown is not None
        assert shown.shape == weights.shape
        assert torch.allclose(shown, weights, rtol=0, atol=1e-12)


@pytest.mark.parametrize("separate", [False, True])
def test_attention_reads_every_width_off_its_weights(separate: bool) -> None:
    """Two heads of three with keys of width 5 and values of width 3, computed one output at a time."""
    e, h, w, v = 12, 2, 5, 3
    x = drawn(T, B, e, seed=1)
    wq, wk, wv = drawn(h * w, e, seed=2), drawn(h * w, e, seed=3), drawn(h * v, e, seed=4)
    bias, out, out_bias = drawn(h * (2 * w + v), seed=5), drawn(e, h * v, seed=6), drawn(e, seed=7)
    packed = {"in_proj_weight": torch.cat([wq, wk, wv])}
    parted = {"in_proj_weight": None, "q_proj_weight": wq, "k_proj_weight": wk, "v_proj_weight": wv}
    found, weights = multi_head_attention(
        x, x, x, e, h, in_proj_bias=bias, bias_k=None, bias_v=None, add_zero_attn=False, dropout_p=0.0,
        out_proj_weight=out, out_proj_bias=out_bias, use_separate_proj_weight=separate,
        average_attn_weights=False, scale=0.3, **(parted if separate else packed),
    )  # fmt: skip
    assert weights is not None
    for b in range(B):
        for t in range(T):
            parts = []
            for head in range(h):
                rows, cols = range(head * w, head * w + w), range(head * v, head * v + v)
                q = [float(wq[r] @ x[t, b] + bias[r]) for r in rows]
                scores = [
                    0.3 * sum(q[i] * float(wk[r] @ x[s, b] + bias[h * w + r]) for i, r in enumerate(rows))
                    for s in range(T)
                ]
                total = sum(math.exp(score) for score in scores)
                shares = [math.exp(score) / total for score in scores]
                assert weights[b, head, t].tolist() == pytest.approx(shares, abs=1e-12)
                parts += [
                    sum(shares[s] * float(wv[c] @ x[s, b] + bias[2 * h * w + c]) for s in range(T))
                    for c in cols
                ]
            expected = [
                sum(float(out[i, j]) * parts[j] for j in range(h * v)) + float(out_bias[i]) for i in range(e)
            ]
            assert found[t, b].tolist() == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("static", ["static_k", "static_v"])
def test_attention_refuses_static_keys_and_values(static: str) -> None:
    given = arguments(DEFAULT)
    with pytest.raises(ValueError, match="static"):
        multi_head_attention(**given, **{static: drawn(B * 3, S, 4, seed=1)}, scale=0.5)


def test_attention_refuses_a_causal_hint_without_a_mask_as_pytorch_does() -> None:
    given = arguments(replace(DEFAULT, is_causal=True, attn_mask="causal")) | {"attn_mask": None}
    with pytest.raises(RuntimeError, match="mask"):
        F.multi_head_attention_forward(**given)
    with pytest.raises(RuntimeError, match="mask"):
        multi_head_attention(**given, scale=0.5)


# -- layers of torch.nn --------------------------------------------------------------------------------------


def heads(axis: Axis) -> bool:
    return axis.name.endswith((":heads", "in_proj_weight:0"))


def widths(axis: Axis) -> bool:
    return axis.name.endswith(("-width", "in_proj_weight:1"))


def key_widths(axis: Axis) -> bool:
    return axis.name.endswith("query-key-width")


def value_widths(axis: Axis) -> bool:
    return axis.name.endswith("value-width")


PARTS = {"heads": heads, "widths": widths, "all": bool}
"""Queries, keys and values of packed self-attention share one width; in any other, values have their own."""


class SelfAttention(nn.Module):
    """Self-attention between two layers, so that nothing of it is an input or an output."""

    def __init__(self, batch_first: bool, **options: Any) -> None:
        super().__init__()
        self.need_weights = options.pop("need_weights", True)
        self.before, self.after = nn.Linear(6, 16), nn.Linear(16, 3)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=batch_first, **options)

    def forward(self, x: Tensor, key_padding_mask: Tensor | None = None) -> Any:
        x = self.before(x)
        y, weights = self.attention(
            x, x, x, key_padding_mask=key_padding_mask, need_weights=self.need_weights
        )
        y = self.after(y)
        return (y, weights) if self.need_weights else y


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("need_weights", [True, False])
def test_multihead_attention_is_cut(part: str, batch_first: bool, need_weights: bool) -> None:
    x = torch.randn(5, 3, 6)
    shrunk = shrink(
        seeded(lambda: SelfAttention(batch_first, need_weights=need_weights)), (x,), those(PARTS[part])
    )
    model = own(shrunk)
    h, w = (4 if part == "widths" else 2), (4 if part == "heads" else 2)
    assert model.attention.in_proj_weight.shape[0] == 3 * h * w
    assert model.attention.out_proj.in_features == h * w
    # another batch and another length than the example's, against attention head by head
    for other in (torch.randn(2, 7, 6), torch.randn(7, 1, 6)):
        found = model(other)
        output, weights = found if need_weights else (found, None)
        wanted, shares = head_by_head(model, other if batch_first else other.transpose(0, 1), h, w)
        assert apart(output, wanted if batch_first else wanted.transpose(0, 1)) < 1e-5
        if need_weights:
            assert apart(weights, shares) < 1e-5


def head_by_head(model: Any, x: Tensor, h: int, w: int) -> tuple[Tensor, Tensor]:
    """Batch-first attention of a cut `SelfAttention` by its formula, the scale that of the original."""
    x = model.before(x)
    packed, bias = model.attention.in_proj_weight, model.attention.in_proj_bias
    parts, shares = [], []
    for head in range(h):
        q, k, val = (
            F.linear(x, packed[rows], bias[rows])
            for rows in (
                slice(head * w, head * w + w),
                slice((h + head) * w, (h + head) * w + w),
                slice((2 * h + head) * w, (2 * h + head) * w + w),
            )
        )
        shares.append((q @ k.mT / 4**0.5).softmax(-1))
        parts.append(shares[-1] @ val)
    out = model.attention.out_proj
    return model.after(F.linear(torch.cat(parts, -1), out.weight, out.bias)), torch.stack(shares).mean(0)


@pytest.mark.parametrize("part", ["heads", "all"])
def test_multihead_attention_is_cut_when_padding_is_masked(part: str) -> None:
    x = torch.randn(3, 5, 6)
    mask = torch.tensor([[False] * 5, [False] * 3 + [True] * 2, [False] * 4 + [True]])
    model = own(shrink(seeded(lambda: SelfAttention(True)), (x, mask), those(PARTS[part])))
    masked, _ = model(x, mask)
    shorter, _ = model(x[1:2, :3], torch.zeros(1, 3, dtype=torch.bool))
    assert apart(masked[1:2, :3], shorter) < 1e-5


@pytest.mark.parametrize(
    "options", [{"add_bias_kv": True}, {"add_zero_attn": True}, {"bias": False}], ids=str
)
@pytest.mark.parametrize("part", ["heads", "all"])
def test_multihead_attention_is_cut_whatever_its_options(part: str, options: dict[str, Any]) -> None:
    shrunk = shrink(seeded(lambda: SelfAttention(True, **options)), torch.randn(3, 5, 6), those(PARTS[part]))
    model = own(shrunk)
    assert model.attention.out_proj.in_features < 16
    assert model(torch.randn(2, 4, 6))[0].shape == (2, 4, 3)


CROSS = PARTS | {"key widths": key_widths, "value widths": value_widths}


class CrossAttention(nn.Module):
    """Queries, keys and values of three widths."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 4, kdim=10, vdim=6, batch_first=True)
        self.key, self.value, self.after = nn.Linear(4, 10), nn.Linear(4, 6), nn.Linear(16, 3)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        key, value = self.key(memory), self.value(memory)
        return self.after(self.attention(x, key, value, need_weights=False)[0])


@pytest.mark.parametrize("part", CROSS)
def test_multihead_attention_is_cut_when_keys_and_values_have_widths_of_their_own(part: str) -> None:
    inputs = torch.randn(2, 5, 16), torch.randn(2, 7, 4)
    model = own(shrink(seeded(CrossAttention), inputs, those(CROSS[part])))
    attention = model.attention
    assert attention.q_proj_weight.shape[0] == attention.k_proj_weight.shape[0]
    assert attention.v_proj_weight.shape[0] == attention.out_proj.in_features
    if part == "all":
        assert (attention.kdim, attention.vdim) == (5, 3)
        assert (model.key.out_features, model.value.out_features) == (5, 3)
    assert model(torch.randn(3, 2, 16), torch.randn(3, 4, 4)).shape == (3, 2, 3)


class Encoder(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(6, 16), nn.Linear(16, 3)
        layer = nn.TransformerEncoderLayer(16, 4, 24, **options)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        return self.head(self.encoder(self.embed(x), src_key_padding_mask=padding))


OPTIONS = [
    {"batch_first": True},
    {"batch_first": False},
    {"batch_first": True, "norm_first": True},
    {"batch_first": True, "activation": "gelu", "bias": False},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("part", ["heads", "all"])
@pytest.mark.parametrize("training", [True, False])
def test_transformer_encoder_is_cut(options: dict[str, Any], part: str, training: bool) -> None:
    """Also on the fused path that PyTorch takes in eval mode without gradients."""
    x = torch.randn(5, 3, 6)
    original = seeded(lambda: Encoder(dropout=0.0, **options)).train(training)
    model = own(shrink(original, x, those(PARTS[part])))
    assert model.training is training
    assert model.encoder.layers[0].self_attn.out_proj.in_features < 16
    other = torch.randn(4, 2, 6)
    slow = model(other)
    assert slow.requires_grad
    with torch.no_grad():
        fast = model.eval()(other)
    assert apart(fast, slow) < 1e-5


def test_transformer_encoder_is_cut_when_padding_is_masked() -> None:
    mask = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    x = torch.randn(2, 5, 6)
    model = own(shrink(seeded(lambda: Encoder(batch_first=True)), {"x": x, "padding": mask}))
    with torch.no_grad():
        assert apart(model(x, mask)[1:, :3], model(x[1:, :3], mask[1:, :3])) < 1e-5


def test_dropout_of_a_cut_transformer_follows_its_mode() -> None:
    model = own(shrink(seeded(lambda: Encoder(dropout=0.5)), torch.randn(5, 3, 6)))
    x = torch.randn(5, 3, 6)
    assert torch.equal(model(x), model(x))
    model.train()
    assert not torch.equal(model(x), model(x))


class Translation(nn.Module):
    """nn.Transformer with embeddings, a causal mask, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(20, 16), nn.Embedding(20, 16)
        self.transformer = nn.Transformer(16, 4, 1, 2, 24, dropout=0.0, batch_first=True)
        self.head = nn.Linear(16, 20)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        return self.head(
            self.transformer(self.source(source), self.target(target), tgt_mask=mask, tgt_is_causal=True)
        )


@pytest.mark.parametrize("part", ["heads", "all"])
def test_transformer_with_a_decoder_is_cut_and_stays_causal(part: str) -> None:
    source, target = torch.randint(20, (2, 6)), torch.randint(20, (2, 5))
    model = own(shrink(seeded(Translation), (source, target), those(PARTS[part])))
    if part == "all":
        assert model.transformer.d_model == 8
    changed = target.clone()
    changed[:, -1] = (changed[:, -1] + 1) % 20
    with torch.no_grad():
        one, other = model(source, target), model(source, changed)
    assert torch.equal(one[:, :-1], other[:, :-1])
    assert not torch.equal(one[:, -1], other[:, -1])


class Pool(nn.Module):
    """Attention pooling as in CLIP's ResNets: everything by keyword, three linear layers for projections."""

    def __init__(self, spots: int = 6, dim: int = 16, heads: int = 4, out: int = 5) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(spots + 1, dim) / dim**0.5)
        self.q_proj, self.k_proj, self.v_proj = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.c_proj = nn.Linear(dim, out)
        self.num_heads = heads
        self.stem = nn.Linear(3, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).permute(1, 0, 2)
        x = torch.cat([x.mean(dim=0, keepdim=True), x], dim=0) + self.positions[:, None, :]
        pooled, _ = F.multi_head_attention_forward(
            query=x[:1],
            key=x,
            value=x,
            embed_dim_to_check=x.shape[-1],
            num_heads=self.num_heads,
            q_proj_weight=self.q_proj.weight,
            k_proj_weight=self.k_proj.weight,
            v_proj_weight=self.v_proj.weight,
            in_proj_weight=None,
            in_proj_bias=torch.cat([self.q_proj.bias, self.k_proj.bias, self.v_proj.bias]),
            bias_k=None,
            bias_v=None,
            add_zero_attn=False,
            dropout_p=0.0,
            out_proj_weight=self.c_proj.weight,
            out_proj_bias=self.c_proj.bias,
            use_separate_proj_weight=True,
            training=self.training,
            need_weights=False,
        )
        return pooled.squeeze(0)


@pytest.mark.parametrize("part", ["heads", "all"])
def test_attention_called_by_keywords_is_cut(part: str) -> None:
    model = own(shrink(seeded(Pool), torch.randn(2, 6, 3), those(PARTS[part])))
    assert model.c_proj.in_features < 16
    x = torch.randn(3, 6, 3)
    one_by_one = torch.cat([model(row) for row in x.split(1)])
    assert apart(model(x), one_by_one) < 1e-5
