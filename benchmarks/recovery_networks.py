"""The network of `bench_recovery_resnet.py`: trained here on Fashion-MNIST, once per seed, and cached.

    python benchmarks/recovery_networks.py [--seed 0 1 2] [--epochs 12]

The weights go to `$PENJING_CACHE/recovery`, else `~/.cache/penjing/recovery`; they are those after the last
epoch: none is chosen by its test accuracy.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from penjing.datasets import fashion_mnist
from penjing.datasets.source import cache_folder
from penjing.demo import FashionResNet, accuracy, load_network
from penjing.demo.task import Augmented, quick_precision

EPOCHS = 12
BATCH = 128
RATE = 0.1
DECAY = 5e-4


def cache() -> Path:
    """Where trained weights, downloaded models and pictures are kept."""
    folder = cache_folder().parent / "recovery"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def fashion_resnet() -> FashionResNet:
    """Untrained: three stages of residual blocks, 32, 64 and 128 channels, 326,634 parameters."""
    return FashionResNet(widths=(32, 64, 128), blocks=(2, 1, 1))


def trained_resnet(seed: int) -> nn.Module:
    """The network of a seed, in eval mode; trained now where it has not been."""
    path = cache() / f"resnet-seed{seed}.safetensors"
    if not path.exists():
        print(f"no weights for seed {seed}: training", flush=True)
        save_trained(seed, path)
    model = fashion_resnet()
    model.load_state_dict(load_file(path))
    return model.eval()


SHIPPED = "shipped"
"""Name of the network that comes with the package."""


def network(name: str) -> nn.Module:
    """`shipped`, the one that comes with the package (315,114 parameters), or the one of a seed."""
    return load_network() if name == SHIPPED else trained_resnet(int(name))


def untrained(name: str) -> nn.Module:
    """Of the same class and size."""
    return FashionResNet() if name == SHIPPED else fashion_resnet()


def save_trained(seed: int, path: Path, *, epochs: int = EPOCHS) -> None:
    """Trains on the 60,000 images, mirrored and shifted at random, and writes the last weights."""
    torch.manual_seed(seed)
    written(trained(fashion_resnet(), epochs, {"seed": seed}), path)


def written(model: nn.Module, path: Path) -> None:
    """Keeps the weights."""
    partial = path.with_suffix(".partial")
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, partial)
    partial.replace(path)


def trained(model: nn.Module, epochs: int, name: dict[str, Any], *, adamw: bool = False) -> nn.Module:
    """`model` trained on a one-cycle schedule, in bfloat16 where there are tiles for it; in eval mode.

    Args:
        model: as drawn.
        epochs: passes over the 60,000 images.
        name: of the training, said with every epoch.
        adamw: instead of SGD with Nesterov momentum.
    """
    model = model.to(memory_format=torch.channels_last)
    parameters = list(model.parameters())
    rate = 2e-3 if adamw else RATE
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.05 if adamw else DECAY},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer: torch.optim.Optimizer
    if adamw:
        optimizer = torch.optim.AdamW(groups, lr=rate)
    else:
        optimizer = torch.optim.SGD(groups, lr=rate, momentum=0.9, nesterov=True)
    train = Augmented(fashion_mnist(split="train"), batch=BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=rate, total_steps=epochs * len(train), pct_start=0.2, cycle_momentum=False
    )
    started = time.perf_counter()
    for epoch in range(1, epochs + 1):
        model.train()
        total = 0.0
        for inputs, labels in train:
            with torch.autocast("cpu", torch.bfloat16, enabled=quick_precision() == "bfloat16"):
                scores = model(inputs)
            loss = functional.cross_entropy(scores.float(), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        minutes = (time.perf_counter() - started) / 60
        said = {"epoch": epoch, "loss": round(total / len(train), 4), "minutes": round(minutes, 1)}
        print(json.dumps({**name, **said}), flush=True)
    model = model.to(memory_format=torch.contiguous_format).eval()
    test = fashion_mnist(split="test")
    print(json.dumps({**name, "test_10000": accuracy(model, test.images, test.labels)}), flush=True)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for seed in given.seed:
        save_trained(seed, cache() / f"resnet-seed{seed}.safetensors", epochs=given.epochs)


if __name__ == "__main__":
    main()
