"""The moves of the generator: what may come next, given the shape of a value, as one explicit table.

A move draws its sizes from `rng` and returns a layer, or None where the shape does not allow it. Moves that
fold units up (norms, means over channels; tokens made by a layer, of which a head takes the mean) are marked:
such units cannot be masked by zeros in the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from torch import nn

from tests.equivalence.generated import channels, images, tokens

Shape = tuple[int, ...]
Build = Callable[[Random, Shape], nn.Module | None]
WIDTHS = (4, 6, 8, 9, 10, 12, 16)
WIDEST = 36


@dataclass(frozen=True)
class Move:
    """One way to go on from one value.

    Attributes:
        name: unique.
        rank: of the values that it reads: 4 for images, 3 for tokens, 0 for both.
        build: draws a layer.
        folds: whether it normalises or averages over channels.
        weight: how often, relative to others.
    """

    name: str
    rank: int
    build: Build
    folds: bool = False
    weight: int = 1


def _divisors(n: int) -> list[int]:
    return [d for d in range(2, n) if n % d == 0]


def _channel(shape: Shape) -> tuple[int, int]:
    """The dimension of the channels, and how many there are."""
    return (1, shape[1]) if len(shape) == 4 else (-1, shape[2])


def _conv(rng: Random, shape: Shape) -> nn.Module:
    out = rng.choice(WIDTHS)
    norm = rng.choice(["", "batch", "batch", "instance"])
    act = rng.choice(["", "relu", "silu", "hardswish", "prelu", "relu6"])
    return images.conv_unit(shape[1], out, rng.choice([1, 3]), bias=rng.random() < 0.6, norm=norm, act=act)


def _grouped(rng: Random, shape: Shape) -> nn.Module | None:
    groups = [d for d in _divisors(shape[1]) if d <= 6]
    if not groups:
        return None
    g = rng.choice(groups)
    norm, act = rng.choice(["", "batch"]), rng.choice(["", "relu", "silu"])
    return images.conv_unit(
        shape[1], g * rng.choice([1, 2, 3, 4]), rng.choice([1, 3]), groups=g, norm=norm, act=act
    )


def _depthwise(rng: Random, shape: Shape) -> nn.Module | None:
    many = rng.choice([1, 1, 2, 3])
    if many * shape[1] > WIDEST:
        return None
    return images.conv_unit(
        shape[1], many * shape[1], 3, groups=shape[1], norm=rng.choice(["", "batch"]), act="relu"
    )


def _group_normed(rng: Random, shape: Shape) -> nn.Module:
    out = rng.choice([8, 12, 16])
    return images.conv_unit(shape[1], out, 3, norm=str(rng.choice([1, 2, 4])), act="silu")


def _transposed(rng: Random, shape: Shape) -> nn.Module | None:
    if shape[2] > 4:
        return None
    g = rng.choice([1, 1, *[d for d in _divisors(shape[1]) if d <= 4]])
    return nn.ConvTranspose2d(shape[1], g * rng.choice([2, 3, 4]), 2, stride=2, groups=g)


def _down(rng: Random, shape: Shape) -> nn.Module | None:
    if shape[2] < 6:
        return None
    made = [
        nn.Conv2d(shape[1], rng.choice(WIDTHS), 3, stride=2, padding=1),
        nn.MaxPool2d(2),
        nn.AvgPool2d(2),
        nn.AdaptiveAvgPool2d(3),
    ]
    return rng.choice(made)


def _up(rng: Random, shape: Shape) -> nn.Module | None:
    if shape[2] > 4:
        return None
    return nn.Upsample(scale_factor=2, mode=rng.choice(["nearest", "bilinear"]))


def _pixel_shuffle(rng: Random, shape: Shape) -> nn.Module | None:
    return nn.PixelShuffle(2) if shape[1] % 4 == 0 and shape[1] >= 8 and shape[2] <= 4 else None


def _pixel_unshuffle(rng: Random, shape: Shape) -> nn.Module | None:
    return nn.PixelUnshuffle(2) if shape[1] * 4 <= WIDEST and shape[2] % 2 == shape[3] % 2 == 0 else None


def _shuffle(rng: Random, shape: Shape) -> nn.Module | None:
    groups = _divisors(shape[1])
    if not groups:
        return None
    return images.Shuffle(rng.choice(groups), rng.choice(["view", "flatten", "unflatten", "operator"]))


def _chunk(rng: Random, shape: Shape) -> nn.Module | None:
    dim, c = _channel(shape)
    return channels.Chunk(rng.choice([2, 2, 3, 4]), dim) if c >= 4 else None


def _split(rng: Random, shape: Shape) -> nn.Module | None:
    dim, c = _channel(shape)
    if c < 4:
        return None
    cuts = sorted(rng.sample(range(1, c), rng.choice([1, 1, 2])))
    return channels.Split(tuple(b - a for a, b in zip([0, *cuts], [*cuts, c], strict=True)), dim)


def _narrow(rng: Random, shape: Shape) -> nn.Module | None:
    dim, c = _channel(shape)
    if c < 5:
        return None
    start = rng.choice([0, 0, rng.randrange(c - 3)])
    return channels.Narrow(start, rng.choice([c, rng.randrange(start + 2, c)]), dim)


def _self_join(rng: Random, shape: Shape) -> nn.Module | None:
    dim, c = _channel(shape)
    return channels.SelfJoin(rng.choice(["same", "crelu", "tanh"]), dim) if 2 * c <= WIDEST else None


def _gate(rng: Random, shape: Shape) -> nn.Module | None:
    dim, c = _channel(shape)
    if c % 2 or c < 4:
        return None
    return (
        channels.Glu(dim) if rng.random() < 0.5 else channels.ChunkGate(rng.choice(["chunk", "slice"]), dim)
    )


def _repeat(rng: Random, shape: Shape) -> nn.Module | None:
    dim, c = _channel(shape)
    return channels.Repeat(2, dim, interleave=rng.random() < 0.5) if 2 * c <= 24 else None


def _permute(rng: Random, shape: Shape) -> nn.Module:
    dim, c = _channel(shape)
    return channels.Permute(tuple(rng.sample(range(c), c)), dim)


def _windows(rng: Random, shape: Shape) -> nn.Module | None:
    window = 3 if shape[2] % 3 == 0 else 2
    if shape[2] != shape[3] or shape[2] % window:
        return None
    return images.WindowAttention(shape[1], 2, rng.choice([2, 3]), window, rng.choice([0, 1]))


def _attention(rng: Random, shape: Shape) -> nn.Module:
    c, heads, width = shape[2], rng.choice([2, 3, 4]), rng.choice([2, 3, 4])
    kind = rng.randrange(3)
    if kind == 0:
        return tokens.FusedAttention(c, heads, width, rng.choice(["unbind", "chunk"]))
    if kind == 1:
        return tokens.GroupedAttention(c, 2, heads, width, rng.choice(["expand", "interleave", "native"]))
    return tokens.EinsumAttention(c, heads, width)


def _heads(shape: Shape) -> list[int]:
    return [d for d in _divisors(_channel(shape)[1]) if d <= 6]


def _when_heads(build: Callable[[Random, Shape, int], nn.Module]) -> Build:
    def drawn(rng: Random, shape: Shape) -> nn.Module | None:
        heads = _heads(shape)
        return build(rng, shape, rng.choice(heads)) if heads else None

    return drawn


def _head_project(rng: Random, shape: Shape, h: int) -> nn.Module:
    return tokens.HeadProject(h, shape[2] // h, rng.choice([2, 3]), rng.choice(["einsum", "matmul"]))


MOVES: tuple[Move, ...] = (
    # images
    Move("conv", 4, _conv, weight=5),
    Move("grouped conv", 4, _grouped, weight=4),
    Move("depthwise conv", 4, _depthwise, weight=3),
    Move("group norm", 4, _group_normed, folds=True, weight=2),
    Move("transposed conv", 4, _transposed),
    Move("down", 4, _down, weight=2),
    Move("up", 4, _up),
    Move("pixel shuffle", 4, _pixel_shuffle, weight=2),
    Move("pixel unshuffle", 4, _pixel_unshuffle),
    Move("channel shuffle", 4, _shuffle, weight=4),
    Move(
        "squeeze-excite",
        4,
        lambda r, s: images.SqueezeExcite(s[1], r.choice([3, 4]), r.choice(["conv", "linear"])),
        weight=2,
    ),
    Move(
        "pad channels",
        4,
        lambda r, s: images.PadChannels(r.choice([0, 2]), r.choice([1, 2, 4])) if s[1] < 30 else None,
        weight=2,
    ),
    Move(
        "pad positions",
        4,
        lambda r, s: images.PadCrop(
            s[1], r.choice(WIDTHS), r.choice(["constant", "reflect", "replicate", "circular"])
        ),
    ),
    Move("layer scale", 4, lambda r, s: images.LayerScale(s[1])),
    Move("position map", 4, lambda r, s: images.PositionMap(*s[1:])),
    Move("spatial attention", 4, lambda r, s: images.SpatialAttention(), folds=True),
    Move("channels-last norm", 4, lambda r, s: images.ChannelsLastNorm(s[1]), folds=True),
    Move("response norm", 4, lambda r, s: images.ResponseNorm(s[1]), folds=True),
    Move("res2", 4, lambda r, s: images.Res2(s[1], r.choice(_divisors(s[1]))) if _heads(s) else None),
    Move("c2f", 4, lambda r, s: images.C2f(s[1], r.choice(WIDTHS), r.choice([3, 4]), r.choice([1, 2]))),
    Move("ghost", 4, lambda r, s: images.Ghost(s[1], r.choice([6, 7, 8, 11])), weight=2),
    Move("einsum mix", 4, lambda r, s: images.EinsumMix(s[1], r.choice(WIDTHS))),
    Move("pixel attention", 4, lambda r, s: images.PixelAttention(s[1], r.choice([2, 3, 4]))),
    Move("channel attention", 4, lambda r, s: images.ChannelAttention(), folds=True),
    Move("weight norm", 4, lambda r, s: images.WeightNormed(s[1], r.choice(WIDTHS)), folds=True),
    Move("unfolded conv", 4, lambda r, s: images.Unfolded(s[1], r.choice(WIDTHS))),
    Move("bottleneck", 4, lambda r, s: images.Bottleneck(s[1], 8, r.choice([1, 2, 4, 8])), weight=2),
    Move("head scale", 4, _when_heads(lambda r, s, h: images.DepthToHeads(h))),
    Move(
        "patch merge",
        4,
        lambda r, s: images.PatchMerge(s[1], r.choice(WIDTHS)) if s[2] % 2 == 0 and s[3] % 2 == 0 else None,
        folds=True,
    ),
    Move("window attention", 4, _windows),
    Move("to tokens", 4, lambda r, s: images.ToTokens() if s[2] * s[3] <= 36 else None),
    # tokens
    Move("linear", 3, lambda r, s: nn.Linear(s[2], r.choice(WIDTHS), bias=r.random() < 0.7), weight=4),
    Move("mlp", 3, lambda r, s: tokens.Mlp(s[2], r.choice(WIDTHS), r.choice([s[2], 8])), weight=2),
    Move(
        "gated mlp",
        3,
        lambda r, s: tokens.GatedMlp(s[2], r.choice([5, 6, 8]), r.choice(["fused", "two"])),
        weight=2,
    ),
    Move("layer norm", 3, lambda r, s: images.affine(nn.LayerNorm(s[2])), folds=True, weight=3),
    Move("rms norm", 3, lambda r, s: nn.RMSNorm(s[2]), folds=True),
    Move("unit length", 3, lambda r, s: tokens.Normalised(s[2]), folds=True),
    Move("attention", 3, _attention, weight=4),
    Move("nn.MultiheadAttention", 3, _when_heads(lambda r, s, h: tokens.Multihead(s[2], h)), weight=2),
    Move("head norm", 3, _when_heads(lambda r, s, h: tokens.HeadNorm(h, s[2] // h)), folds=True, weight=2),
    Move(
        "head mean",
        3,
        lambda r, s: tokens.HeadMean(s[2], r.choice([2, 3]), 4, r.choice([2, 3])),
        folds=True,
        weight=2,
    ),
    Move("head project", 3, _when_heads(_head_project), weight=2),
    Move("token mix", 3, lambda r, s: tokens.TokenMix(s[1], r.choice([4, 6])), folds=True, weight=2),
    Move("class token", 3, lambda r, s: tokens.ClassToken(s[1], s[2])),
    Move("first token", 3, lambda r, s: tokens.FirstToken()),
    Move(
        "conv1d",
        3,
        lambda r, s: tokens.Transposed1d(s[2], r.choice(["conv", "depthwise", "batch"])),
        weight=2,
    ),
    Move("group norm 1d", 3, _when_heads(lambda r, s, h: tokens.Transposed1d(s[2], "group", h)), folds=True),
    Move("global context", 3, lambda r, s: tokens.GlobalContext(s[2], r.choice([3, 4]))),
    Move("tied pair", 3, lambda r, s: tokens.TiedPair(s[2], r.choice(WIDTHS))),
    Move("to image", 3, lambda r, s: tokens.ToImage(2) if s[1] % 2 == 0 else None),
    Move("decode", 3, lambda r, s: tokens.Decode(s[2], r.choice([3, 4]), r.choice([4, 6]))),
    Move("lstm", 3, lambda r, s: tokens.Recurrent("lstm", s[2], r.choice([3, 4]), both=r.random() < 0.5)),
    Move("gru", 3, lambda r, s: tokens.Recurrent("gru", s[2], r.choice([3, 4]), both=r.random() < 0.5)),
    # both
    Move("chunk", 0, _chunk, weight=5),
    Move("split", 0, _split, weight=4),
    Move("narrow", 0, _narrow, weight=3),
    Move(
        "interleaved",
        0,
        lambda r, s: channels.Interleaved(_channel(s)[0]) if _channel(s)[1] >= 6 else None,
        weight=2,
    ),
    Move("self-concatenation", 0, _self_join, weight=4),
    Move("gate", 0, _gate, weight=4),
    Move("repeat", 0, _repeat, weight=2),
    Move("roll", 0, lambda r, s: channels.RollChannels(r.choice([1, 2, 3, -2]), _channel(s)[0]), weight=1),
    Move("flip", 0, lambda r, s: channels.FlipChannels(_channel(s)[0])),
    Move("permute by table", 0, _permute),
    Move(
        "activation",
        0,
        lambda r, s: channels.Activation(r.choice(["relu", "gelu", "mish", "elu", "softsign", "tanh"])),
        weight=3,
    ),
)
