"""Pictures that nobody took: noise with the spectrum of natural images, and fractals."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_POINTS, _TURNS = 4096, 24


def coloured_noise(samples: int, channels: int, space: Sequence[int], generator: torch.Generator) -> Tensor:
    """Gaussian noise whose power falls with frequency as `f^(-2 a)`, `a` drawn from 0 to 2 for each sample.

    Channels share a part of it, as those of pictures do.

    Returns:
        float32 [samples, channels, *space], mean 0 and variance 1 in every sample.

    Source: Field 1987, J. Opt. Soc. Am. A 4(12), for the spectrum; Baradad et al. 2021, arXiv:2106.05963, for
    what networks make of it.
    """
    own = torch.randn(samples, channels, *space, generator=generator)
    shared = torch.randn(samples, 1, *space, generator=generator)
    dims = tuple(range(2, 2 + len(space)))
    squared = torch.zeros(*space)
    for place, size in enumerate(space):
        shape = [1] * len(space)
        shape[place] = size
        squared = squared + torch.fft.fftfreq(size).square().view(shape)
    frequency = squared.clamp_min(1 / max(space) ** 2).sqrt()
    fall = 2 * torch.rand(samples, *([1] * (1 + len(space))), generator=generator)
    shaped = torch.fft.fftn(own + shared, dim=dims) * frequency.pow(-fall)
    return standardised(torch.fft.ifftn(shaped, dim=dims).real)


def fractals(samples: int, channels: int, space: Sequence[int], generator: torch.Generator) -> Tensor:
    """Densities of iterated function systems: two to four random contractions of the plane, each coloured.

    Args:
        samples: pictures.
        channels: of each.
        space: height and width.
        generator: of all that is random.

    Returns:
        float32 [samples, channels, height, width], mean 0 and variance 1 in every sample.

    Source: Barnsley 1988, Fractals Everywhere, chapter 3 (the chaos game); singular values as in Anderson and
    Farrell 2022, arXiv:2110.03091.
    """
    return standardised(torch.stack([_fractal(channels, space, generator) for _ in range(samples)]))


def standardised(pictures: Tensor) -> Tensor:
    """Mean 0 and variance 1 in every sample."""
    flat = pictures.flatten(1)
    spread = flat.std(1, keepdim=True).clamp_min(1e-6)
    return ((flat - flat.mean(1, keepdim=True)) / spread).view_as(pictures)


def _fractal(channels: int, space: Sequence[int], generator: torch.Generator) -> Tensor:
    maps = int(torch.randint(2, 5, (1,), generator=generator))
    turns = torch.rand(2, maps, generator=generator) * 2 * torch.pi
    shrink = 0.3 + 0.6 * torch.rand(maps, 2, generator=generator)
    linear = _rotation(turns[0]) @ torch.diag_embed(shrink) @ _rotation(turns[1])
    offset = 2 * torch.rand(maps, 2, generator=generator) - 1
    points = torch.zeros(_POINTS, 2)
    for _ in range(_TURNS):
        chosen = torch.randint(maps, (_POINTS,), generator=generator)
        points = (linear[chosen] @ points[:, :, None])[..., 0] + offset[chosen]
    low, high = points.amin(0), points.amax(0)
    size = torch.tensor(space)
    cells = ((points - low) / (high - low).clamp_min(1e-6) * (size - 1)).round().long()
    colours = torch.randn(maps, channels, generator=generator)[chosen]
    found = torch.zeros(int(size.prod()), channels).index_add_(
        0, cells[:, 0] * space[1] + cells[:, 1], colours
    )
    return (found.sign() * found.abs().log1p()).t().reshape(channels, *space)


def _rotation(angles: Tensor) -> Tensor:
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
