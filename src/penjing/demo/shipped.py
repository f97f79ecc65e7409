"""What the package ships: the weights that the project trained, and a part of Fashion-MNIST."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from penjing.datasets import LabelledImages, read_folder
from penjing.datasets.images import Split
from penjing.demo.network import FashionResNet
from penjing.errors import PenjingError

_ASSETS = resources.files("penjing.demo") / "assets"
_WEIGHTS = "fashion_resnet.safetensors"
_IMAGES = "fashion-mnist"


def load_network() -> FashionResNet:
    """The network with the weights that `benchmarks/train_demo.py` trained, ready for inference.

    Raises:
        PenjingError: PJ355 if the weights are missing from the installation or damaged.
    """
    network = FashionResNet()
    try:
        network.load_state_dict(load((_ASSETS / _WEIGHTS).read_bytes()))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise PenjingError(
            "PJ355",
            f"cannot load the demo's weights, {_WEIGHTS}",
            because=str(error),
            tries=("reinstall penjing",),
        ) from error
    return network.eval()


def load_data(split: Split = "train") -> LabelledImages:
    """The part of Fashion-MNIST that comes with the package, as many images of each of the ten classes.

    Args:
        split: "train" (10,000 images, of the set's 60,000) or "test" (2,000, of its 10,000).

    Raises:
        PenjingError: PJ354 if `split` is neither, or the images are missing from the installation.
    """
    with resources.as_file(_ASSETS / _IMAGES) as folder:
        return read_folder(Path(folder), split)


@torch.inference_mode()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor, *, batch: int = 250) -> float:
    """The share of images whose highest score is their label's.

    The model is put into evaluation mode for the count, and left as it was found.

    Args:
        model: from [n, 1, height, width] in [0, 1] to scores [n, classes].
        images: uint8 [n, height, width], as in `LabelledImages`, or floats as the model takes them.
        labels: int64 [n].
        batch: images at a time.

    Raises:
        PenjingError: PJ356 if there are no images, or not as many labels.
    """
    if len(images) == 0 or len(images) != len(labels):
        raise PenjingError(
            "PJ356", f"cannot count the hits among {len(images)} images and {len(labels)} labels"
        )
    if images.dtype == torch.uint8:
        images = LabelledImages(images, labels).inputs()
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        hits = sum(
            int((model(x).argmax(1) == y).sum())
            for x, y in zip(images.split(batch), labels.split(batch), strict=True)
        )
    finally:
        for module, training in modes.items():
            module.training = training
    return hits / len(labels)
