"""Losses, and constructors."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.network.rules.case import case, integers, positive

aten = torch.ops.aten

_TWO = """
mse_loss l1_loss smooth_l1_loss huber_loss soft_margin_loss kl_div hinge_embedding_loss
"""
_WINDOWS = "hann_window hamming_window blackman_window bartlett_window kaiser_window"

CASES = (
    *(
        case(name, lambda x, y, f=getattr(aten, name): f(x, y), positive(2, 3), (2, 3))
        for name in _TWO.split()
    ),
    *(
        case(
            name,
            lambda x, y, f=getattr(F, name): f(x, y, reduction="none"),
            positive(2, 3),
            (2, 3),
            note="each",
        )
        for name in _TWO.split()
    ),
    *(
        case(
            name,
            lambda x, y, f=getattr(F, name): f(x, y, reduction="sum"),
            positive(2, 3),
            (2, 3),
            note="sum",
        )
        for name in _TWO.split()
    ),
    case("mse_loss", lambda x, w, y: F.mse_loss(x * w, y), (2, 1), (1, 3), (2, 3), note="after a product"),
    case("binary_cross_entropy", F.binary_cross_entropy, positive(2, 3), positive(2, 3)),
    case(
        "binary_cross_entropy", F.binary_cross_entropy, positive(2, 3), positive(2, 3), (3,), note="weights"
    ),
    case("binary_cross_entropy_with_logits", F.binary_cross_entropy_with_logits, (2, 3), positive(2, 3)),
    case(
        "binary_cross_entropy_with_logits",
        lambda x, y, w: F.binary_cross_entropy_with_logits(x, y, pos_weight=w, reduction="none"),
        (2, 3),
        positive(2, 3),
        (3,),
        note="weights, each",
    ),
    case("poisson_nll_loss", F.poisson_nll_loss, (2, 3), positive(2, 3)),
    case("margin_ranking_loss", F.margin_ranking_loss, (4,), (4,), (4,)),
    case(
        "cosine_embedding_loss", F.cosine_embedding_loss, (4, 3), (4, 3), torch.tensor([1.0, -1.0, 1.0, -1.0])
    ),
    case(
        "cosine_embedding_loss",
        lambda x, y, t: F.cosine_embedding_loss(x, y, t, reduction="none"),
        (4, 3),
        (4, 3),
        torch.tensor([1.0, -1.0, 1.0, -1.0]),
        note="each",
    ),
    case("triplet_margin_loss", F.triplet_margin_loss, (4, 3), (4, 3), (4, 3)),
    case(
        "triplet_margin_loss",
        lambda *xs: F.triplet_margin_loss(*xs, reduction="none"),
        (4, 3),
        (4, 3),
        (4, 3),
        note="each",
    ),
    case("cross_entropy_loss", F.cross_entropy, (4, 3), integers(3, 4), frozen="0.1"),
    case("cross_entropy_loss", F.cross_entropy, (3,), integers(3), note="no batch", frozen="0.0"),
    case("cross_entropy_loss", F.cross_entropy, (4, 3), positive(4, 3), note="shares"),
    case(
        "cross_entropy_loss",
        lambda x, t, w: F.cross_entropy(x, t, w, reduction="none"),
        (2, 3, 5),
        integers(3, 2, 5),
        positive(3),
        note="weights, each, in space",
        frozen="0.1 2.0",
    ),
    case("nll_loss", lambda x, t: aten.nll_loss(x, t), (4, 3), integers(3, 4), frozen="0.1"),
    case("nll_loss_nd", F.nll_loss, (4, 3), integers(3, 4), frozen="0.1"),
    case("nll_loss2d", lambda x, t: aten.nll_loss2d(x, t), (2, 3, 4, 5), integers(3, 2, 4, 5), frozen="0.1"),
    case(
        "nll_loss_forward",
        lambda x, t: aten.nll_loss_forward(x, t, None, 1, -100),
        (4, 3),
        integers(3, 4),
        frozen="0.1",
    ),
    case(
        "nll_loss2d_forward",
        lambda x, t: aten.nll_loss2d_forward(x, t, None, 0, -100)[0],
        (2, 3, 4, 5),
        integers(3, 2, 4, 5),
        frozen="0.1",
    ),
    case("multi_margin_loss", F.multi_margin_loss, (4, 3), integers(3, 4), frozen="0.1"),
    case(
        "multilabel_margin_loss",
        F.multilabel_margin_loss,
        (2, 3),
        torch.tensor([[0, 2, -1], [1, -1, 0]]),
        frozen="0.1 1.1",
    ),
    *(
        case(name, lambda x, f=getattr(torch, name): x + f((2, 3)).to(x), (2, 3))
        for name in ("zeros", "ones", "rand", "randn")
    ),
    case("full", lambda x: x * torch.full((3,), 2.0).to(x), (2, 3)),
    case("empty", lambda x: x + torch.empty(2, 3).fill_(0.0).to(x), (2, 3)),
    case("empty_strided", lambda x: x + torch.empty_strided((2, 3), (1, 2)).fill_(0.0).to(x), (2, 3)),
    case("randint", lambda x: x + torch.randint(5, (2, 3)).fill_(0), (2, 3)),
    case("new_zeros", lambda x: x + x.new_zeros(2, 3), (2, 3)),
    case("new_ones", lambda x: x + x.new_ones(3), (2, 3)),
    case("new_full", lambda x: x + x.new_full((2, 1), 2.0), (2, 3)),
    case("new_empty", lambda x: x + x.new_empty(2, 3).fill_(0.0), (2, 3)),
    case("new_empty_strided", lambda x: x + x.new_empty_strided((2, 3), (3, 1)).fill_(0.0), (2, 3)),
    case("arange", lambda x: x + torch.arange(3), (2, 3), frozen="0.1"),
    case("arange", lambda x: x + torch.arange(1, 7, 2), (2, 3), note="step", frozen="0.1"),
    case("linspace", lambda x: x + torch.linspace(0, 1, 3).to(x), (2, 3), frozen="0.1"),
    case("logspace", lambda x: x + torch.logspace(0, 1, 3).to(x), (2, 3), frozen="0.1"),
    case("eye", lambda x: x + torch.eye(3).to(x), (3, 3), frozen="0.0 0.1"),
    case("tril_indices", lambda x: x + torch.tril_indices(2, 2), (2, 3), frozen="0.0 0.1"),
    case("triu_indices", lambda x: x + torch.triu_indices(2, 2), (2, 3), frozen="0.0 0.1"),
    case("randperm", lambda x: x + 0 * torch.randperm(3), (2, 3), frozen="0.1"),
    case("scalar_tensor", lambda x: x + torch.scalar_tensor(2.0).to(x), (2, 3)),
    *(
        case(name, lambda x, f=getattr(torch, name): x * f(3).to(x), (2, 3), frozen="0.1")
        for name in _WINDOWS.split()
    ),
    case("fft_fftfreq", lambda x: x * torch.fft.fftfreq(3).to(x), (2, 3), frozen="0.1"),
    case("fft_rfftfreq", lambda x: x * torch.fft.rfftfreq(4).to(x), (2, 3), frozen="0.1"),
    case("_assert_tensor_metadata", lambda x: x.float().to(x.dtype), (2, 3)),
)
