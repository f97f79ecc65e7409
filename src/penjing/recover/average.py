"""The exponential moving average of the weights along a training."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from penjing.recover.sharded import whole
from penjing.recover.weights import Weights, copied, named_tensors


class Average:
    """a <- d * a + (1 - d) * w after every step, with d = min(decay, (1 + t) / (10 + t)).

    The bound that grows with the step t keeps a short training from ending at where it began. Buffers with
    real values (statistics of batch norms) are averaged as weights are; all others are copied.

    Attributes:
        weights: the average, by name.
        steps: how often it was updated.

    Source: Polyak, Juditsky 1992, doi:10.1137/0330046; the bound is that of TensorFlow's
    `ExponentialMovingAverage(num_updates=)`.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Begins at the weights of `model`."""
        self._decay = decay
        self.weights: Weights = copied(model)
        self.steps = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Takes in the weights of `model` as they are now."""
        decay = min(self._decay, (1 + self.steps) / (10 + self.steps))
        for name, tensor in named_tensors(model):
            if tensor.is_floating_point():
                self.weights[name].lerp_(whole(tensor), 1 - decay)
            else:
                self.weights[name].copy_(tensor)
        self.steps += 1

    def copy(self) -> Weights:
        """The average as it is now."""
        return {name: tensor.clone() for name, tensor in self.weights.items()}

    def put(self, weights: Mapping[str, Tensor], steps: int) -> None:
        """Goes on from an earlier average."""
        for name, tensor in weights.items():
            self.weights[name].copy_(tensor)
        self.steps = steps
