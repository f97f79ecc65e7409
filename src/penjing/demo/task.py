"""The demo as a task: the network, how it is called, and its data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from penjing.api.task import Task
from penjing.datasets import LabelledImages
from penjing.demo.shipped import accuracy, load_data, load_network
from penjing.recover import FineTune, Reconstruct, Step

Batch = tuple[Tensor, Tensor]


class Augmented:
    """Batches of images in random order, mirrored and shifted at random; other ones at every pass.

    Draws from torch's own generator, so that whoever seeds it gets the same batches.
    """

    def __init__(self, data: LabelledImages, *, batch: int = 128, shift: int = 2) -> None:
        """Takes the images; the last, smaller batch of a pass is left out."""
        self._data, self._batch, self._shift = data, batch, shift

    def __len__(self) -> int:
        """Batches of a pass."""
        return len(self._data) // self._batch

    def __iter__(self) -> Iterator[Batch]:
        """One pass."""
        order = torch.randperm(len(self._data))
        for indices in order[: len(self) * self._batch].split(self._batch):
            part = self._data.take(indices)
            yield self._moved(part.inputs()), part.labels

    def _moved(self, images: Tensor) -> Tensor:
        n, _, height, width = images.shape
        images = torch.where(torch.rand(n, 1, 1, 1) < 0.5, images.flip(3), images)
        padded = functional.pad(images, (self._shift,) * 4)
        rows = torch.randint(2 * self._shift + 1, (n, 1)) + torch.arange(height)
        columns = torch.randint(2 * self._shift + 1, (n, 1)) + torch.arange(width)
        return padded[torch.arange(n)[:, None, None], 0, rows[:, :, None], columns[:, None, :]].unsqueeze(1)


def task() -> Task:
    """The network that the project trained, and the part of Fashion-MNIST that comes with the package."""
    train, test = load_data("train"), load_data("test")
    few = train.take(torch.arange(0, len(train), len(train) // 1280)[:1280])
    calibration: Sequence[Batch] = list(zip(few.inputs().split(128), few.labels.split(128), strict=True))

    def loss(outputs: Tensor, batch: Batch) -> Tensor:
        return functional.cross_entropy(outputs, batch[1])

    def evaluate(model: nn.Module) -> float:
        return accuracy(model, test.images, test.labels)

    return Task(
        model=load_network(),
        example_inputs=test.inputs()[:1],
        train=Augmented(train),
        calibration=calibration,
        loss=loss,
        evaluate=evaluate,
    )


def recovery(of: Task) -> list[Step]:
    """How the demo gets its accuracy back: layers solved again, then one gentle epoch of distillation."""
    assert of.train is not None
    tuning = FineTune(
        epochs=1,
        train=of.train,
        lr=5e-4,
        teacher_share=0.9,
        temperature=3.0,
        keep="last",
        precision=quick_precision(),
    )
    return [Reconstruct(), tuning]


def quick_precision() -> Literal["bfloat16", "float32"]:
    """Of training on this processor: with instructions for bfloat16, up to three times as quick in it."""
    supported = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return "bfloat16" if supported else "float32"
