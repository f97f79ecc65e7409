"""torch's own transformer modules: encoder, decoder, both, cross attention; a Conformer."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor, nn


class PositionalEncoding(nn.Module):
    def __init__(self, d_model: int, max_len: int = 64) -> None:
        super().__init__()
        position = torch.arange(max_len).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
        pe = torch.zeros(1, max_len, d_model)
        pe[0, :, 0::2] = torch.sin(position * div_term)
        pe[0, :, 1::2] = torch.cos(position * div_term)
        self.register_buffer("pe", pe)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.pe[:, : x.size(1)]


class TextClassifier(nn.Module):
    """nn.TransformerEncoder with a padding mask, mean over what is not padding."""

    def __init__(self, vocabulary: int = 100, d_model: int = 32, norm_first: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, d_model, padding_idx=0)
        self.pos_encoder = PositionalEncoding(d_model)
        layer = nn.TransformerEncoderLayer(
            d_model, nhead=4, dim_feedforward=64, activation="gelu", batch_first=True, norm_first=norm_first
        )
        self.encoder = nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
        self.classifier = nn.Linear(d_model, 5)
        self.d_model = d_model

    def forward(self, src: Tensor) -> Tensor:
        mask = src == 0
        x = self.pos_encoder(self.embedding(src) * math.sqrt(self.d_model))
        x = self.encoder(x, src_key_padding_mask=mask)
        keep = (~mask).unsqueeze(-1).to(x.dtype)
        return self.classifier((x * keep).sum(1) / keep.sum(1).clamp(min=1.0))


class Seq2Seq(nn.Module):
    """nn.Transformer, sequence first, with a causal target mask; the generator is the target embedding."""

    def __init__(self, vocabulary: int = 80, d_model: int = 32) -> None:
        super().__init__()
        self.transformer = nn.Transformer(
            d_model=d_model, nhead=4, num_encoder_layers=2, num_decoder_layers=2, dim_feedforward=48
        )
        self.src_tok_emb = nn.Embedding(vocabulary, d_model)
        self.tgt_tok_emb = nn.Embedding(vocabulary, d_model)
        self.positions = nn.Parameter(torch.randn(16, 1, d_model) * 0.1)
        self.generator = nn.Linear(d_model, vocabulary, bias=False)
        self.generator.weight = self.tgt_tok_emb.weight

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        src_emb = self.src_tok_emb(src.t()) + self.positions[: src.size(1)]
        tgt_emb = self.tgt_tok_emb(tgt.t()) + self.positions[: tgt.size(1)]
        tgt_mask = nn.Transformer.generate_square_subsequent_mask(tgt.size(1), device=tgt.device)
        outs = self.transformer(src_emb, tgt_emb, tgt_mask=tgt_mask.to(src_emb.dtype), tgt_is_causal=True)
        return self.generator(outs).transpose(0, 1)


class Captioner(nn.Module):
    """A CNN whose pixels are pooled by nn.MultiheadAttention (key width of its own), then read by a decoder.

    Left alone, nn.TransformerDecoder compares its mask with a causal one: a branch on data.
    """

    def __init__(self, vocabulary: int = 60, d_model: int = 32, is_causal: bool | None = True) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 16, 4, 4), nn.ReLU(), nn.Conv2d(16, 24, 2, 2), nn.ReLU())
        self.queries = nn.Parameter(torch.randn(1, 6, d_model))
        self.pool = nn.MultiheadAttention(d_model, 4, kdim=24, vdim=24, batch_first=True, add_bias_kv=True)
        self.embed = nn.Embedding(vocabulary, d_model)
        layer = nn.TransformerDecoderLayer(d_model, 4, 64, batch_first=True)
        self.decoder = nn.TransformerDecoder(layer, num_layers=2, norm=nn.LayerNorm(d_model))
        self.out = nn.Linear(d_model, vocabulary)
        self.is_causal = is_causal
        self.register_buffer("causal", torch.triu(torch.ones(16, 16, dtype=torch.bool), 1), persistent=False)

    def forward(self, image: Tensor, caption: Tensor) -> tuple[Tensor, Tensor]:
        memory = self.backbone(image).flatten(2).permute(0, 2, 1)
        pooled, weights = self.pool(self.queries.expand(image.size(0), -1, -1), memory, memory)
        n = caption.size(1)
        hidden = self.decoder(
            self.embed(caption), pooled, tgt_mask=self.causal[:n, :n], tgt_is_causal=self.is_causal
        )
        return self.out(hidden), weights


class ConformerBlock(nn.Module):
    def __init__(self, dim: int, heads: int, kernel: int) -> None:
        super().__init__()
        self.ff1 = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, dim * 4), nn.SiLU(), nn.Linear(dim * 4, dim)
        )
        self.norm_attn = nn.LayerNorm(dim)
        self.attn = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.norm_conv = nn.LayerNorm(dim)
        self.pointwise1 = nn.Conv1d(dim, 2 * dim, 1)
        self.glu = nn.GLU(dim=1)
        self.depthwise = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.bn = nn.BatchNorm1d(dim)
        self.pointwise2 = nn.Conv1d(dim, dim, 1)
        self.ff2 = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, dim * 4), nn.SiLU(), nn.Linear(dim * 4, dim)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + 0.5 * self.ff1(x)
        y = self.norm_attn(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        y = self.glu(self.pointwise1(self.norm_conv(x).transpose(1, 2)))
        y = self.pointwise2(nn.functional.silu(self.bn(self.depthwise(y))))
        x = x + y.transpose(1, 2)
        return self.norm(x + 0.5 * self.ff2(x))


class Conformer(nn.Module):
    """Convolutional subsampling of a spectrogram, blocks, one label a frame."""

    def __init__(self, mels: int = 16, dim: int = 24) -> None:
        super().__init__()
        self.subsample = nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU()
        )
        self.proj = nn.Linear(12 * (mels // 4), dim)
        self.blocks = nn.ModuleList(ConformerBlock(dim, 4, 5) for _ in range(2))
        self.head = nn.Linear(dim, 12)

    def forward(self, spectrogram: Tensor) -> Tensor:
        x = self.subsample(spectrogram.unsqueeze(1))
        b, c, t, f = x.size()
        x = self.proj(x.transpose(1, 2).contiguous().view(b, t, c * f))
        for block in self.blocks:
            x = block(x)
        return self.head(x).log_softmax(-1)


def transformer_encoder() -> nn.Module:
    return TextClassifier()


def transformer_encoder_norm_first() -> nn.Module:
    return TextClassifier(norm_first=True)


def transformer_seq2seq() -> nn.Module:
    with warnings.catch_warnings(action="ignore"):  # torch regrets that sequence-first input has no fast path
        return Seq2Seq()


def transformer_decoder() -> nn.Module:
    return Captioner()


def transformer_decoder_mask_inspected() -> nn.Module:
    return Captioner(is_causal=None)


def conformer() -> nn.Module:
    return Conformer()
