"""What fine-tuning minimises on a batch, put together from its parts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from penjing import processes
from penjing.errors import PenjingError
from penjing.network.batch import Batch
from penjing.network.source import where
from penjing.recover.attention import Attention, attention_loss
from penjing.recover.distances import FeatureLoss, Kept, feature_loss
from penjing.recover.features import Features, caught
from penjing.recover.losses import Goal, label_loss, teacher_loss
from penjing.recover.mixing import mixed
from penjing.recover.share import Share, even_random_numbers
from penjing.recover.step import Loss


@dataclass(frozen=True)
class Objective:
    """A loss of a model on a batch.

    Attributes:
        goal: what outputs are to follow, or a loss of the user's own.
        own: the loss given to the job; it stands for "label" where there is one.
        teacher: the original, in eval mode.
        temperature: of the teacher's class scores.
        share: of the teacher's loss in "label+teacher".
        smoothing: of labels.
        mixup: alpha of mixup; 0 for none.
        feature_weight: of the features' distance, which is added; 0 for none.
        features: names of the modules whose outputs are compared.
        feature_loss: how.
        kept: module -> which units of its output were kept, for "units".
        attention_weight: of the attention maps' distance, which is added; 0 for none.
        split: whether the data give every one of several processes batches of its own.
    """

    goal: Goal | Loss
    own: Loss | None
    teacher: nn.Module
    temperature: float = 2.0
    share: float = 0.5
    smoothing: float = 0.0
    mixup: float = 0.0
    feature_weight: float = 0.0
    features: Sequence[str] = ()
    feature_loss: FeatureLoss = "similarity"
    kept: dict[str, Kept] | None = None
    attention_weight: float = 0.0
    split: bool = False

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """The scalar to minimise; of several processes, their gradients are to be summed.

        Raises:
            PenjingError: PJ307, the loss fails, or is no scalar that depends on the weights; PJ310, the batch
                does not fit; PJ312 or PJ317, nothing can be compared; PJ313, the batch cannot be mixed.
        """
        parts = mixed(model, batch, self.mixup) if self.mixup else [(1.0, batch)]
        batch = parts[0][1]
        share = Share.of(batch, loader=self.split) if processes.world() > 1 else None
        outputs, features, maps = self._run(model, batch, share)
        distils = bool(self.feature_weight or self.attention_weight)
        taught, known, seen = None, Features(), list[Tensor]()
        if distils or self.goal in ("teacher", "label+teacher"):
            with torch.no_grad():
                taught, known, seen = self._run(self.teacher, batch, share)
        if share is not None and not share.even:
            even_random_numbers()
        total = sum(part * self.on_outputs(outputs, taught, each) for part, each in parts)
        assert isinstance(total, Tensor)
        if self.feature_weight:
            distance = feature_loss(features, known, self.feature_loss, self.kept or {})
            total = total + self.feature_weight * distance
        if self.attention_weight:
            total = total + self.attention_weight * attention_loss(maps, seen)
        return total if share is None else share.loss(total)

    def on_outputs(self, outputs: Any, taught: Any, batch: Batch) -> Tensor:
        """The part that is read off the outputs of the model and of the original."""
        if callable(self.goal):
            return _own(self.goal, outputs, batch)
        total = torch.zeros(())
        if self.goal in ("label", "label+teacher"):
            label = _own(self.own, outputs, batch) if self.own else label_loss(outputs, batch, self.smoothing)
            if self.goal == "label":
                return label
            total = (1 - self.share) * label
        distance = teacher_loss(outputs, taught, batch.targets, self.temperature)
        return distance if self.goal == "teacher" else total + self.share * distance

    def _run(self, model: nn.Module, batch: Batch, share: Share | None) -> tuple[Any, Features, list[Tensor]]:
        """Outputs, features and attention maps of the whole batch, whoever runs how much of it."""
        with ExitStack() as stack:
            features = stack.enter_context(caught(model, self.features)) if self.feature_weight else {}
            maps = stack.enter_context(Attention()).maps if self.attention_weight else []
            if share is None:
                return batch.run(model), features, maps
            with share.running():
                outputs = share.part(model, batch).run(model)
        return share.whole((outputs, features, maps))


def _own(function: Loss, outputs: Any, batch: Batch) -> Tensor:
    """The user's loss, checked."""
    try:
        loss: object = function(outputs, batch.given)
    except Exception as error:  # the function is the user's: whatever it raises is reported with its place
        raise PenjingError(
            "PJ307",
            f"the loss fails on batch {batch.number}",
            because=f"{type(error).__name__}: {error}",
            path=where(error),
            tries=["check what it takes: (outputs, batch), the batch as the data give it"],
        ) from error
    if isinstance(loss, Tensor) and loss.numel() == 1 and loss.requires_grad:
        return loss.reshape(())
    shown = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"{type(loss).__name__}"
    detached = isinstance(loss, Tensor) and loss.numel() == 1
    raise PenjingError(
        "PJ307",
        f"the loss of batch {batch.number} is no scalar that depends on the weights",
        because=f"it is {shown}" + (" without a gradient" if detached else ""),
        tries=["return one number computed from the outputs, not detached"],
    )
