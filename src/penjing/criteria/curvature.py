"""Curvature: the diagonal of the Hessian of a loss, estimated along random directions."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from penjing.errors import PenjingError


@dataclass(frozen=True)
class Curvature:
    """Asks for the diagonal of the Hessian of the loss.

    Attributes:
        probes: random directions a batch, each one more backward pass.
        seed: of these.
    """

    probes: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if self.probes < 1:
            raise PenjingError(
                "PJ306", f"probes={self.probes}: there is no curvature without any", tries=["probes=8"]
            )

    def __str__(self) -> str:
        return f"curvature ({self.probes} probes, seed {self.seed})"


def diagonals(
    gradients: Sequence[Tensor | None], parameters: Sequence[Tensor], asked: Curvature, *, number: int
) -> Iterator[list[Tensor | None]]:
    """For each probe v of random signs, v * (H v): in the mean over probes, the diagonal of H.

    H_ii v_i v_i is H_ii, and the other terms H_ij v_i v_j cancel in the mean: a diagonal Hessian is exact
    with one probe, and else the variance of one is the sum of the squares of the others in the row.

    Args:
        gradients: of the loss of one batch by each parameter, with the graph that made them; None where the
            loss does not depend on it.
        parameters: whose diagonal is estimated. Of complex ones, it is that of their real parts.
        asked: how many probes, and their seed.
        number: of the batch; others have other probes.

    Yields:
        For each parameter a tensor of its shape; None where its curvature is zero. Nothing at all where the
        loss is linear in all of them.

    Raises:
        PenjingError: PJ308, an operator has no second derivative.

    Source: Hutchinson 1990, Commun. Stat. Simul. 19(2); for the diagonal, Bekas, Kokiopoulou and Saad 2007,
    Appl. Numer. Math. 57.
    """
    bent = [(place, one) for place, one in enumerate(gradients) if one is not None and one.requires_grad]
    for probe in range(asked.probes if bent else 0):
        seed = zlib.crc32(f"{asked.seed}-{number}-{probe}".encode())
        generator = torch.Generator().manual_seed(seed)
        signs = [_signs(parameter, generator) for parameter in parameters]
        try:
            found: Sequence[Tensor | None] = torch.autograd.grad(
                [one for _, one in bent],
                parameters,
                [signs[place] for place, _ in bent],
                retain_graph=True,
                allow_unused=True,
            )
        except RuntimeError as error:
            raise PenjingError(
                "PJ308",
                f"the loss of batch {number} cannot be differentiated twice",
                because=f"{error}",
                tries=['criterion="fisher", which stands in for curvature and takes one backward pass'],
            ) from error
        yield [
            None if one is None else (sign.conj() * one).real for sign, one in zip(signs, found, strict=True)
        ]


def _signs(like: Tensor, generator: torch.Generator) -> Tensor:
    """1 or -1, evenly."""
    drawn = torch.randint(2, like.shape, generator=generator, dtype=torch.int8)
    return (2 * drawn - 1).to(like.device, like.dtype)
