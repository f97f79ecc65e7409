"""Convolutions, pooling, resampling, padding, shuffles between channels and space."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from tests.network.rules.case import Case, case

aten = torch.ops.aten

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_SPACE = {1: (4,), 2: (4, 5), 3: (4, 5, 3)}
_KERNEL = {1: (2,), 2: (2, 3), 3: (2, 3, 1)}


def _dims(tensor: int, first: int, count: int) -> list[str]:
    return [f"{tensor}.{first + place}" for place in range(count)]


def _frozen(rank: int, kernel: tuple[int, ...], channel: int = 1) -> str:
    taps = [f"1.{2 + place}" for place, size in enumerate(kernel) if size > 1]
    return " ".join([*_dims(0, channel + 1, rank), *taps])


def _conv(
    rank: int,
    note: str = "",
    *,
    groups: int = 1,
    into: int = 4,
    out: int = 6,
    bias: bool = False,
    **options: Any,
) -> Case:
    shapes = [(2, into, *_SPACE[rank]), (out, into // groups, *_KERNEL[rank]), *([(out,)] if bias else [])]
    function = _CONV[rank]
    return case(
        f"conv{rank}d",
        lambda x, w, b=None: function(x, w, b, groups=groups, **options),
        *shapes,
        note=note,
        frozen=_frozen(rank, _KERNEL[rank]),
    )


def _transposed(
    rank: int,
    note: str = "",
    *,
    groups: int = 1,
    into: int = 4,
    out: int = 6,
    bias: bool = False,
    **options: Any,
) -> Case:
    shapes = [(2, into, *_SPACE[rank]), (into, out // groups, *_KERNEL[rank]), *([(out,)] if bias else [])]
    function = _TRANSPOSED[rank]
    return case(
        f"conv_transpose{rank}d",
        lambda x, w, b=None: function(x, w, b, groups=groups, **options),
        *shapes,
        note=note,
        frozen=_frozen(rank, _KERNEL[rank]),
    )


def _pool(name: str, function: Callable[..., Any], rank: int, note: str = "") -> Case:
    return case(name, function, (2, 3, *_SPACE[rank]), note=note, frozen=" ".join(_dims(0, 2, rank)))


def _resize(rank: int, mode: str, **options: Any) -> Callable[..., Any]:
    return lambda x: F.interpolate(x, scale_factor=2, mode=mode, **options)


CASES = (
    *(_conv(rank) for rank in (1, 2, 3)),
    *(_conv(rank, "grouped", groups=2, bias=True) for rank in (1, 2, 3)),
    _conv(2, "strided, dilated, padded", stride=2, dilation=(1, 2), padding=2),
    case(
        "conv2d",
        lambda x, w: F.conv2d(x, w, padding="same"),
        (2, 3, 4, 4),
        (4, 3, 3, 3),
        note="padded to the same",
        frozen="0.2 0.3 1.2 1.3",
    ),
    _conv(2, "depthwise", groups=4, out=4, bias=True),
    _conv(2, "depthwise with a multiplier", groups=4, out=12, bias=True),
    _conv(1, "one channel", into=1, out=3),
    case("conv1d", F.conv1d, (3, 5), (4, 3, 2), note="no batch", frozen="0.1 1.2"),
    case(
        "conv2d",
        lambda x, w: F.conv2d(x, w, groups=2),
        (4, 5, 3),
        (6, 2, 1, 1),
        note="no batch, grouped",
        frozen="0.1 0.2",
    ),
    case(
        "conv2d",
        lambda x, w: F.conv2d(x, w, groups=3),
        (2, 6, 4, 4),
        (3, 2, 2, 2),
        note="one row a group",
        frozen="0.2 0.3 1.2 1.3",
    ),
    *(_transposed(rank, bias=True, stride=2) for rank in (1, 2, 3)),
    *(_transposed(rank, "grouped", groups=2, bias=True) for rank in (1, 2, 3)),
    _transposed(2, "depthwise", groups=4, out=4),
    _transposed(2, "depthwise with a multiplier", groups=4, out=8, output_padding=1, stride=2),
    case("conv_transpose1d", F.conv_transpose1d, (3, 5), (3, 4, 2), note="no batch", frozen="0.1 1.2"),
    case(
        "convolution",
        lambda x, w: aten.convolution(x, w, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 2),
        (2, 4, 4, 5),
        (6, 2, 2, 3),
        frozen="0.2 0.3 1.2 1.3",
    ),
    case(
        "convolution",
        lambda x, w: aten.convolution(x, w, None, [2], [0], [1], True, [0], 2),
        (2, 4, 5),
        (4, 3, 2),
        note="transposed",
        frozen="0.2 1.2",
    ),
    case(
        "_convolution",
        lambda x, w, b: aten._convolution(x, w, b, [1], [0], [1], False, [0], 1, False, False, False, False),
        (2, 4, 5),
        (3, 4, 2),
        (3,),
        frozen="0.2 1.2",
    ),
    case("conv_tbc", torch.conv_tbc, (5, 2, 3), (2, 3, 4), (4,), frozen="0.0 1.0"),
    _pool("max_pool1d", lambda x: F.max_pool1d(x, 2), 1),
    _pool("max_pool1d_with_indices", lambda x: F.max_pool1d(x, 2, return_indices=True), 1),
    _pool("avg_pool1d", lambda x: F.avg_pool1d(x, 2), 1),
    _pool("adaptive_avg_pool1d", lambda x: F.adaptive_avg_pool1d(x, 2), 1),
    _pool("adaptive_max_pool1d", lambda x: F.adaptive_max_pool1d(x, 2), 1),
    _pool("max_pool2d", lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True), 2),
    _pool("max_pool2d_with_indices", lambda x: F.max_pool2d(x, 2, return_indices=True), 2),
    _pool("avg_pool2d", lambda x: F.avg_pool2d(x, 2, 1, count_include_pad=False), 2),
    _pool("adaptive_avg_pool2d", lambda x: F.adaptive_avg_pool2d(x, 1), 2),
    _pool("adaptive_max_pool2d", lambda x: F.adaptive_max_pool2d(x, (1, 2)), 2),
    _pool("_adaptive_avg_pool2d", lambda x: aten._adaptive_avg_pool2d(x, [2, 2]), 2),
    _pool("max_pool3d", lambda x: F.max_pool3d(x, 2), 3),
    _pool("max_pool3d_with_indices", lambda x: F.max_pool3d(x, 2, return_indices=True), 3),
    _pool("avg_pool3d", lambda x: F.avg_pool3d(x, 2), 3),
    _pool("adaptive_avg_pool3d", lambda x: F.adaptive_avg_pool3d(x, 2), 3),
    _pool("adaptive_max_pool3d", lambda x: F.adaptive_max_pool3d(x, 2), 3),
    _pool("_adaptive_avg_pool3d", lambda x: aten._adaptive_avg_pool3d(x, [2, 2, 2]), 3),
    case("avg_pool2d", lambda x: F.avg_pool2d(x, 2), (3, 4, 5), note="no batch", frozen="0.1 0.2"),
    case(
        "max_unpool2d",
        lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2),
        (2, 3, 4, 4),
        frozen="0.2 0.3",
    ),
    case(
        "max_unpool3d",
        lambda x: F.max_unpool3d(*F.max_pool3d(x, 2, return_indices=True), 2),
        (2, 3, 4, 4, 4),
        frozen="0.2 0.3 0.4",
    ),
    case(
        "fractional_max_pool2d",
        lambda x, s: aten.fractional_max_pool2d(x, [2, 2], [2, 3], s),
        (2, 3, 5, 6),
        torch.full((2, 3, 2), 0.4),
        frozen="0.2 0.3 1.2",
    ),
    case(
        "fractional_max_pool3d",
        lambda x, s: aten.fractional_max_pool3d(x, [2, 2, 2], [2, 2, 2], s),
        (2, 3, 5, 5, 5),
        torch.full((2, 3, 3), 0.4),
        frozen="0.2 0.3 0.4 1.2",
    ),
    _pool("upsample_nearest1d", _resize(1, "nearest"), 1),
    _pool("upsample_linear1d", _resize(1, "linear"), 1),
    _pool("_upsample_nearest_exact1d", _resize(1, "nearest-exact"), 1),
    _pool("upsample_nearest2d", _resize(2, "nearest"), 2),
    _pool("upsample_nearest2d", lambda x: F.interpolate(x, size=(3, 7)), 2, note="size"),
    _pool("upsample_bilinear2d", _resize(2, "bilinear", align_corners=True), 2),
    _pool("upsample_bicubic2d", _resize(2, "bicubic"), 2),
    _pool("_upsample_nearest_exact2d", _resize(2, "nearest-exact"), 2),
    _pool("_upsample_bilinear2d_aa", _resize(2, "bilinear", antialias=True), 2),
    _pool("_upsample_bicubic2d_aa", _resize(2, "bicubic", antialias=True), 2),
    _pool("upsample_nearest3d", _resize(3, "nearest"), 3),
    _pool("upsample_trilinear3d", _resize(3, "trilinear"), 3),
    _pool("_upsample_nearest_exact3d", _resize(3, "nearest-exact"), 3),
    case(
        "grid_sampler",
        lambda x, g: F.grid_sample(x, g, align_corners=False),
        (2, 3, 4, 5),
        (2, 3, 6, 2),
        frozen="0.2 0.3 1.1 1.2 1.3",
    ),
    case(
        "grid_sampler_2d",
        lambda x, g: aten.grid_sampler_2d(x, g, 0, 0, False),
        (2, 3, 4, 5),
        (2, 3, 6, 2),
        frozen="0.2 0.3 1.1 1.2 1.3",
    ),
    case(
        "grid_sampler_3d",
        lambda x, g: aten.grid_sampler_3d(x, g, 0, 0, False),
        (2, 3, 4, 5, 2),
        (2, 3, 6, 2, 3),
        frozen="0.2 0.3 0.4 1.1 1.2 1.3 1.4",
    ),
    case(
        "affine_grid_generator",
        lambda t: aten.affine_grid_generator(t, [3, 2, 4, 5], False),
        (3, 2, 3),
        frozen="0.1 0.2",
    ),
    case("pad", lambda x: F.pad(x, (0, 0, 1, 2)), (2, 3, 4)),
    case("pad", lambda x: F.pad(x, (2, 1), value=0.5), (2, 3), note="value"),
    case("pad", lambda x, y: F.pad(x, (1, 1)) * y, (2, 3), (2, 5), note="padding is units"),
    case("pad", lambda x: F.pad(x, (-1, 0)), (2, 4), note="cropped", frozen="0.1"),
    case("pad", lambda x: F.pad(x, (1, 2), mode="reflect"), (2, 3, 4), note="reflected", frozen="0.2"),
    case("pad", lambda x: F.pad(x, (1, 1, 0, 0), mode="circular"), (2, 3, 4, 5), note="around", frozen="0.3"),
    case("constant_pad_nd", lambda x: aten.constant_pad_nd(x, [1, 0, 0, 2], 1.0), (2, 3, 4)),
    *(
        case(
            f"{kind}_pad{rank}d",
            lambda x, f=getattr(aten, f"{kind}_pad{rank}d"), pads=[1] * (2 * rank): f(x, pads),
            (2, 3, *_SPACE[rank]),
            frozen=" ".join(_dims(0, 2, rank)),
        )
        for kind in ("reflection", "replication")
        for rank in (1, 2, 3)
    ),
    case("_pad_circular", lambda x: aten._pad_circular(x, [1, 1]), (2, 3, 4), frozen="0.2"),
    case("pixel_shuffle", lambda x: F.pixel_shuffle(x, 2), (2, 12, 3, 4), frozen="0.2 0.3"),
    case("pixel_shuffle", lambda x: F.pixel_shuffle(x, 2), (8, 3, 4), note="no batch", frozen="0.1 0.2"),
    case("pixel_unshuffle", lambda x: F.pixel_unshuffle(x, 2), (2, 3, 4, 6), frozen="0.2 0.3"),
    case("channel_shuffle", lambda x: F.channel_shuffle(x, 3), (2, 6, 4)),
    case("channel_shuffle", lambda x, w: F.channel_shuffle(x, 2) * w, (2, 6, 3, 4), (6, 1, 1), note="scaled"),
    case("native_channel_shuffle", lambda x: aten.native_channel_shuffle(x, 3), (2, 6, 4, 4)),
    case("im2col", lambda x: F.unfold(x, 2), (2, 3, 4, 5), frozen="0.2 0.3"),
    case("im2col", lambda x: F.unfold(x, (2, 1), stride=2), (3, 4, 5), note="no batch", frozen="0.1 0.2"),
    case("col2im", lambda x: F.fold(x, (4, 5), 2), (2, 12, 12), frozen="0.2"),
    case("col2im", lambda x: F.fold(x, (4, 4), (2, 1), stride=2), (6, 4), note="no batch", frozen="0.1"),
    case("unfold", lambda x: x.unfold(1, 3, 2), (2, 7, 3), frozen="0.1"),
    case("unfold_copy", lambda x: aten.unfold_copy(x, -1, 2, 1), (2, 5), frozen="0.1"),
)
