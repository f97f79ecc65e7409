"""Labelled grey images, and the folder of four IDX files that MNIST made customary."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from penjing.datasets.idx import read_idx
from penjing.errors import PenjingError

Split = Literal["train", "test"]

#: The customary file names of each part: images, labels.
FILES: dict[Split, tuple[str, str]] = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Grey images and the class of each.

    Attributes:
        images: uint8 [n, height, width].
        labels: int64 [n].
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.labels)

    def inputs(self) -> Tensor:
        """The images as a network takes them: float32 [n, 1, height, width] in [0, 1]."""
        return self.images.to(torch.float32).div_(255).unsqueeze(1)

    def take(self, indices: Tensor) -> LabelledImages:
        """The images at `indices`, in that order."""
        return LabelledImages(self.images[indices], self.labels[indices])


def file_names(split: Split) -> tuple[str, str]:
    """The names of the two files of a part: images, labels.

    Raises:
        PenjingError: PJ354 if `split` is neither "train" nor "test".
    """
    if split not in FILES:
        raise PenjingError(
            "PJ354", f"no part is called `{split}`", tries=tuple(f'split="{name}"' for name in FILES)
        )
    return FILES[split]


def located(folder: Path, name: str) -> Path | None:
    """The file `name` of `folder`, or the same unpacked; None if there is neither."""
    for path in (folder / name, folder / name.removesuffix(".gz")):
        if path.is_file():
            return path
    return None


def read_folder(folder: Path | str, split: Split = "train") -> LabelledImages:
    """Reads one part of a set from a folder with the customary file names, gzipped or plain.

    Args:
        folder: where the files are.
        split: "train" or "test".

    Raises:
        PenjingError: PJ354 if a file is missing or images and labels do not belong together; PJ350 and PJ351
            as `read_idx`.
    """
    folder = Path(folder)
    images_name, labels_name = file_names(split)
    images = read_idx(_needed(folder, images_name))
    labels = read_idx(_needed(folder, labels_name))
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise PenjingError(
            "PJ354",
            f"images and labels in `{folder}` do not belong together",
            because=f"{images_name} is {tuple(images.shape)}, {labels_name} is {tuple(labels.shape)}",
            tries=("fetch both files again, from one place",),
        )
    return LabelledImages(images, labels.to(torch.int64))


def _needed(folder: Path, name: str) -> Path:
    path = located(folder, name)
    if path is None:
        raise PenjingError(
            "PJ354",
            f"`{folder}` holds no {name}",
            because="the folder does not exist" if not folder.is_dir() else "nor the same file unpacked",
            tries=("name the folder with the four IDX files",),
        )
    return path
