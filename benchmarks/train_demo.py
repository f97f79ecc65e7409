"""Trains the demo's network on the whole of Fashion-MNIST, and writes its weights and its figures.

    python benchmarks/train_demo.py --data FOLDER
    python benchmarks/train_demo.py --data FOLDER --evaluate    # counts the hits again, trains nothing

FOLDER holds the four IDX files; without --data they are looked for, and downloaded where they are nowhere.

The weights are the exponential moving average after the last epoch: no epoch is chosen by its test accuracy.
They are written after every epoch, so that a stopped training leaves something usable.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from penjing.datasets import LabelledImages, fashion_mnist
from penjing.demo import FashionResNet, accuracy, load_data

_HERE = Path(__file__).resolve().parent
_WEIGHTS = _HERE.parent / "src/penjing/demo/assets/fashion_resnet.safetensors"
_RESULTS = _HERE / "results/train_demo.json"


def arguments() -> argparse.Namespace:
    """What may be chosen; the defaults made the weights that ship."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder with the four IDX files")
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument(
        "--rate", type=float, default=0.1, help="peak learning rate of the one-cycle schedule"
    )
    parser.add_argument("--decay", type=float, default=5e-4, help="weight decay of the convolutions")
    parser.add_argument("--smoothing", type=float, default=0.05, help="label smoothing")
    parser.add_argument("--average", type=float, default=0.998, help="decay of the moving average, per step")
    parser.add_argument("--shift", type=int, default=2, help="largest random shift, in pixels")
    parser.add_argument(
        "--hole", type=int, default=6, help="side of the square blanked in half of the images"
    )
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", type=Path, default=_WEIGHTS)
    parser.add_argument("--results", type=Path, default=_RESULTS)
    parser.add_argument("--evaluate", action="store_true", help="only count the hits of --weights again")
    return parser.parse_args()


def augment(images: Tensor, *, shift: int, hole: int, generator: torch.Generator) -> Tensor:
    """images[n h w] -> images[n h w]: mirrored, shifted and blanked in part, each by its own draw."""
    n, height, width = images.shape
    draw = {"generator": generator}
    mirrored = torch.rand(n, 1, 1, **draw) < 0.5
    images = torch.where(mirrored, images.flip(2), images)
    padded = functional.pad(images, (shift,) * 4)
    rows = torch.randint(0, 2 * shift + 1, (n, 1), **draw) + torch.arange(height)
    columns = torch.randint(0, 2 * shift + 1, (n, 1), **draw) + torch.arange(width)
    images = padded[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
    top = torch.randint(0, height - hole + 1, (n, 1), **draw)
    left = torch.randint(0, width - hole + 1, (n, 1), **draw)
    in_rows = (torch.arange(height) >= top) & (torch.arange(height) < top + hole)
    in_columns = (torch.arange(width) >= left) & (torch.arange(width) < left + hole)
    blanked = in_rows[:, :, None] & in_columns[:, None, :] & (torch.rand(n, 1, 1, **draw) < 0.5)
    return images.masked_fill(blanked, 0)


def parameter_groups(model: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels; none for scales and biases."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def train(
    options: argparse.Namespace, data: LabelledImages, shipped: LabelledImages
) -> list[dict[str, float]]:
    """Trains, writes the averaged weights after every epoch, and returns a line of figures for each."""
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    model = FashionResNet().to(memory_format=torch.channels_last)
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(options.average), use_buffers=True)
    optimizer = torch.optim.SGD(
        parameter_groups(model, options.decay), lr=options.rate, momentum=0.9, nesterov=True
    )
    steps = len(data) // options.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=options.rate,
        total_steps=options.epochs * steps,
        pct_start=0.2,
        cycle_momentum=False,
    )
    history: list[dict[str, float]] = []
    started = time.perf_counter()
    for epoch in range(1, options.epochs + 1):
        model.train()
        total = 0.0
        order = torch.randperm(len(data), generator=generator)[: steps * options.batch]
        for indices in order.split(options.batch):
            part = data.take(indices)
            pixels = augment(part.images, shift=options.shift, hole=options.hole, generator=generator)
            inputs = LabelledImages(pixels, part.labels).inputs()
            with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bfloat16"):
                scores = model(inputs)
            loss = functional.cross_entropy(scores.float(), part.labels, label_smoothing=options.smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            averaged.update_parameters(model)
            total += loss.item()
        write_weights(averaged.module, options.weights)
        history.append(
            {
                "epoch": epoch,
                "loss": round(total / steps, 4),
                "shipped_2000": accuracy(averaged.module, shipped.images, shipped.labels),
                "minutes": round((time.perf_counter() - started) / 60, 2),
            }
        )
        print(json.dumps(history[-1]), flush=True)
    return history


def write_weights(model: nn.Module, path: Path) -> None:
    """Writes the state of a model in one step: a stopped write leaves the former file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    partial = path.with_suffix(".partial")
    partial.write_bytes(save(state))
    partial.replace(path)


def main() -> None:
    """Trains unless told not to, then counts the hits of the written weights on both test sets."""
    options = arguments()
    torch.set_num_threads(options.threads)
    test, shipped = fashion_mnist(options.data, split="test"), load_data("test")
    record: dict[str, Any]
    if options.evaluate:
        record = json.loads(options.results.read_text())
    else:
        history = train(options, fashion_mnist(options.data, split="train"), shipped)
        chosen = {
            name: value for name, value in vars(options).items() if isinstance(value, int | float | str)
        }
        chosen.pop("evaluate")
        record = {
            "command": "python benchmarks/train_demo.py --data FOLDER",
            "options": chosen,
            "history": history,
            "environment": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "cpu": torch.backends.cpu.get_cpu_capability(),
            },
        }
    model = FashionResNet()
    model.load_state_dict(load_file(options.weights))
    record["parameters"] = sum(parameter.numel() for parameter in model.parameters())
    record["weights_bytes"] = options.weights.stat().st_size
    record["accuracy"] = {
        "test_10000": accuracy(model, test.images, test.labels),
        "shipped_2000": accuracy(model, shipped.images, shipped.labels),
    }
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record["accuracy"]))


if __name__ == "__main__":
    main()
