"""Operators to which positions matter, and matrices as wholes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tests.network.rules.case import Case, case, integers, positive

aten = torch.ops.aten


def _spread(*shape: int) -> torch.Tensor:
    """Matrices that are symmetric, positive definite, and have distinct eigenvalues."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(5))
    return x @ x.mT + torch.diag(torch.arange(1.0, shape[-1] + 1))


def _matrix(name: str, function: Callable[..., Any], *shape: int) -> Case:
    """Batches do not see each other; a masked one is left as it is, for a matrix of zeros has no inverse."""
    return case(
        name, function, _spread(*shape), frozen="0.1 0.2", masked=lambda tensors, masks: function(*tensors)
    )


_MATRICES = "cholesky det inverse logdet matrix_exp pinverse slogdet"
_LINALG = """
linalg_cholesky linalg_cond linalg_det linalg_eigvalsh linalg_inv linalg_inv_ex linalg_matrix_exp
linalg_pinv linalg_slogdet linalg_svdvals linalg_cholesky_ex
"""
_LABELS = integers(3, 2, 2) + 1

CASES = (
    case("tril", torch.tril, (2, 4, 3), frozen="0.1 0.2"),
    case("triu", lambda x: x.triu(1), (3, 3), frozen="0.0 0.1"),
    case("diagonal", torch.diagonal, (3, 3)),
    case("diagonal", lambda x: x.diagonal(dim1=-2, dim2=-1), (2, 3, 3), note="batch"),
    case("diagonal", torch.diagonal, (3, 4), note="oblong", frozen="0.0 0.1"),
    case("diagonal", lambda x: x.diagonal(1), (3, 3), note="off the middle", frozen="0.0 0.1"),
    case("diagonal_copy", aten.diagonal_copy, (3, 3)),
    case("linalg_diagonal", torch.linalg.diagonal, (2, 3, 3)),
    case("trace", torch.trace, (3, 3)),
    case("diag_embed", torch.diag_embed, (2, 3)),
    case("diag_embed", lambda x: x.diag_embed(dim1=0, dim2=2), (2, 3), note="places"),
    case("diag_embed", lambda x: x.diag_embed(1), (2, 3), note="off the middle", frozen="0.1"),
    case("diagflat", torch.diagflat, (3,)),
    case("diag", torch.diag, (3,)),
    case("diag", torch.diag, (3, 3), note="matrix"),
    case("diag", lambda x: x.diag(1), (3,), note="off the middle", frozen="0.0"),
    case("cross", lambda x, y: aten.cross(x, y), (2, 3), (2, 3), frozen="0.1 1.1"),
    case("linalg_cross", torch.linalg.cross, (4, 1, 3), (1, 2, 3), frozen="0.2 1.2"),
    case("view_as_complex", lambda x: torch.view_as_complex(x).abs(), (3, 4, 2), frozen="0.2"),
    case("view_as_real", lambda x, y: torch.view_as_real(torch.complex(x, y)), (3, 4), (3, 4)),
    case("trapezoid", torch.trapezoid, (3, 4), frozen="0.1"),
    case("trapezoid", lambda y: torch.trapezoid(y, dim=0), (3, 4, 2), note="first", frozen="0.0"),
    case("trapezoid", lambda y: torch.trapezoid(y, dim=-2), (3, 1, 2), note="one point"),
    case("trapezoid", lambda y, x: torch.trapezoid(y, x), (3, 4), positive(4), note="grid", frozen="0.1 1.0"),
    case("trapz", lambda y: torch.trapz(y, dx=0.5), (3, 4), frozen="0.1"),
    case("cumulative_trapezoid", torch.cumulative_trapezoid, (3, 4), frozen="0.1"),
    case("cumulative_trapezoid", lambda y: torch.cumulative_trapezoid(y, dim=1), (2, 3, 4), frozen="0.1"),
    case("diff", torch.diff, (3, 4), frozen="0.1"),
    case("diff", lambda x, y: torch.diff(x, prepend=y), (3, 4), (3, 1), note="prepended", frozen="0.1"),
    case("fft_fft", lambda x: torch.fft.fft(x, dim=1).abs(), (2, 4, 3), frozen="0.1"),
    case("fft_ifft", lambda x: torch.fft.ifft(x).real, (2, 4), frozen="0.1"),
    case("fft_rfft", lambda x: torch.fft.rfft(x).real, (2, 4), frozen="0.1"),
    case("fft_fft2", lambda x: torch.fft.fft2(x).real, (2, 4, 3), frozen="0.1 0.2"),
    case("fft_ifft2", lambda x: torch.fft.ifft2(x).real, (2, 4, 3), frozen="0.1 0.2"),
    case("fft_rfft2", lambda x: torch.fft.rfft2(x, dim=(0, 1)).real, (4, 3, 2), frozen="0.0 0.1"),
    case("fft_fftn", lambda x: torch.fft.fftn(x, dim=(1,)).real, (2, 4), frozen="0.1"),
    case("fft_fftn", lambda x: torch.fft.fftn(x).real, (2, 4), note="all", frozen="0.0 0.1"),
    case("fft_ifftn", lambda x: torch.fft.ifftn(x).real, (2, 4), frozen="0.0 0.1"),
    case("fft_rfftn", lambda x: torch.fft.rfftn(x).real, (2, 4), frozen="0.0 0.1"),
    case("fft_irfft", lambda x: torch.fft.irfft(x), (2, 4), frozen="0.1"),
    case("fft_hfft", lambda x: torch.fft.hfft(x), (2, 4), frozen="0.1"),
    case("fft_ihfft", lambda x: torch.fft.ihfft(x).real, (2, 4), frozen="0.1"),
    case("fft_irfft2", lambda x: torch.fft.irfft2(x), (2, 4, 3), frozen="0.1 0.2"),
    case("fft_irfftn", lambda x: torch.fft.irfftn(x, dim=(-1,)), (2, 4), frozen="0.1"),
    case("fft_fftshift", lambda x: torch.fft.fftshift(x, dim=1), (2, 4), frozen="0.1", limits="0.1"),
    case("fft_ifftshift", lambda x: torch.fft.ifftshift(x), (2, 4), frozen="0.0 0.1", limits="0.0"),
    case("as_strided", lambda x: x.as_strided((2, 2), (1, 2)), (3, 4), frozen="0.0 0.1"),
    case("cartesian_prod", lambda x, y: torch.cartesian_prod(x, y), (2,), (3,)),
    case("combinations", torch.combinations, (4,), frozen="0.0"),
    case("cov", torch.cov, (3, 4), frozen="0.0 0.1"),
    case("corrcoef", torch.corrcoef, (3, 4), frozen="0.0 0.1"),
    case(
        "ctc_loss",
        lambda x: torch.nn.functional.ctc_loss(x.log_softmax(-1), _LABELS, (5, 5), (2, 2)),
        (5, 2, 4),
        frozen="0.0 0.1 0.2",
    ),
    case(
        "stft",
        lambda x: torch.stft(x, 4, window=torch.ones(4).to(x), return_complex=True).abs(),
        (2, 12),
        frozen="0.1",
    ),
    case(
        "istft",
        lambda x: torch.istft(torch.complex(x, x), 4, window=torch.ones(4).to(x)),
        (2, 3, 5),
        frozen="0.1 0.2",
    ),
    *(_matrix(name, getattr(aten, name), 2, 3, 3) for name in _MATRICES.split() if hasattr(aten, name)),
    *(
        _matrix(name, getattr(torch.linalg, name.removeprefix("linalg_")), 2, 3, 3)
        for name in _LINALG.split()
    ),
    _matrix("linalg_eigh", lambda x: torch.linalg.eigh(x).eigenvalues, 2, 3, 3),
    _matrix("linalg_eig", lambda x: torch.linalg.eig(x).eigenvalues.abs(), 2, 3, 3),
    _matrix("linalg_eigvals", lambda x: torch.linalg.eigvals(x).abs(), 2, 3, 3),
    case("matrix_power", lambda x: torch.matrix_power(x, 3), (2, 3, 3), frozen="0.1 0.2"),
    case("linalg_matrix_power", lambda x: torch.linalg.matrix_power(x, 2), (2, 3, 3), frozen="0.1 0.2"),
    case("svd", lambda x: torch.svd(x).S, (2, 3, 4), frozen="0.1 0.2"),
    *(
        case(name, lambda x: aten.qr(x)[1].abs(), (2, 4, 3), frozen="0.1 0.2")
        for name in ("qr",)
        if hasattr(aten, name)
    ),
    case("linalg_svd", lambda x: torch.linalg.svd(x).S, (2, 3, 4), frozen="0.1 0.2"),
    case("linalg_qr", lambda x: torch.linalg.qr(x).R.abs(), (2, 4, 3), frozen="0.1 0.2"),
    case("linalg_lu", lambda x: torch.linalg.lu(x), (2, 3, 3), frozen="0.1 0.2"),
    case(
        "linalg_solve",
        torch.linalg.solve,
        _spread(3, 3),
        (3, 2),
        frozen="0.0 0.1 1.0 1.1",
        limits="1.1",
    ),
    case(
        "linalg_lstsq",
        lambda a, b: torch.linalg.lstsq(a, b).solution,
        (4, 3),
        (4, 2),
        frozen="0.0 0.1 1.0 1.1",
        limits="0.0 1.1",
    ),
    case(
        "linalg_solve_triangular",
        lambda a, b: torch.linalg.solve_triangular(a, b, upper=True),
        _spread(3, 3).triu(),
        (3, 2),
        frozen="0.0 0.1 1.0 1.1",
        limits="1.1",
    ),
    case("linalg_vander", torch.linalg.vander, (3,), frozen="0.0"),
    case(
        "linalg_tensorinv",
        lambda x: torch.linalg.tensorinv(x.view(2, 2, 4)),
        _spread(4, 4),
        frozen="0.0 0.1",
    ),
)
