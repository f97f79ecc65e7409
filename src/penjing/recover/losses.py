"""What fine-tuning minimises: the labels' loss, the distance from the original, or both."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from penjing.errors import PenjingError
from penjing.network.batch import Batch
from penjing.network.outputs import flatten

Goal = Literal["label", "teacher", "label+teacher"]


def label_loss(outputs: Any, batch: Batch, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of class scores against integer targets.

    `smoothing` of a target's probability is spread evenly over all classes: Szegedy et al. 2015,
    arXiv:1512.00567, section 7.

    Raises:
        PenjingError: PJ312, the batch has no integer targets, or no output has the shape of their scores.
    """
    scores = class_scores(outputs, batch.targets)
    if scores is None:
        raise PenjingError(
            "PJ312",
            "no loss is known for these outputs and targets",
            because="there are no integer targets with an output of one score per class",
            tries=["give loss=, a function (outputs, batch) -> scalar", 'or FineTune(..., loss="teacher")'],
        )
    return F.cross_entropy(scores, batch.targets.flatten(), label_smoothing=smoothing)


def class_scores(outputs: Any, targets: Any) -> Tensor | None:
    """The output with one score per class for every target, as [targets, classes]; None if there is none.

    Classes lie in the last dimension, or, as `cross_entropy` has it, in the second.
    """
    if not isinstance(targets, Tensor) or targets.is_floating_point() or targets.dtype == torch.bool:
        return None
    for leaf in real_leaves(outputs):
        if leaf.ndim != targets.ndim + 1:
            continue
        if leaf.shape[:-1] == targets.shape:
            return leaf.flatten(0, -2)
        if leaf.shape[:1] + leaf.shape[2:] == targets.shape:
            return leaf.movedim(1, -1).flatten(0, -2)
    return None


def teacher_loss(outputs: Any, taught: Any, targets: Any, temperature: float) -> Tensor:
    """Distance of `outputs` from those of the original.

    Where integer targets tell which output holds class scores: the Kullback-Leibler divergence at
    `temperature`, times its square, so that gradients keep their size. Elsewhere: for every real output of
    equal shape, the mean squared difference over the original's mean square; averaged over outputs.

    Raises:
        PenjingError: PJ312, no output can be compared.

    Source: Hinton, Vinyals, Dean 2015, arXiv:1503.02531, section 2.
    """
    scores, aims = class_scores(outputs, targets), class_scores(taught, targets)
    if scores is not None and aims is not None and scores.shape == aims.shape:
        logs = F.log_softmax(scores / temperature, -1)
        aim = F.log_softmax(aims / temperature, -1)
        return F.kl_div(logs, aim, reduction="batchmean", log_target=True) * temperature**2
    mine, theirs = real_leaves(outputs), real_leaves(taught)
    pairs = [(a, b) for a, b in zip(mine, theirs, strict=False) if a.shape == b.shape and a.requires_grad]
    if len(mine) != len(theirs) or not pairs:
        raise PenjingError(
            "PJ312",
            "the outputs of the cut model cannot be compared with those of the original",
            because="no real-valued output has the same shape in both",
            tries=['give loss=, a function (outputs, batch) -> scalar, and FineTune(..., loss="label")'],
        )
    tiny = torch.finfo(pairs[0][0].dtype).tiny
    apart = [F.mse_loss(a, b) / b.square().mean().clamp_min(tiny) for a, b in pairs]
    return torch.stack(apart).mean()


def real_leaves(outputs: Any) -> list[Tensor]:
    """The floating-point tensors among `outputs`, in order."""
    leaves, _ = flatten(outputs)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]
