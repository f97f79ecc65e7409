"""What bench_kills.py prunes: the demo's network, and few enough of its images that a run takes seconds."""

from __future__ import annotations

import torch

import penjing as pj
from penjing.demo.shipped import accuracy, load_data, load_network
from penjing.demo.task import Augmented

torch.set_num_threads(1)


def task() -> pj.Task:
    """Shuffled and augmented at random: what a resumed training has to get right."""
    train, test = load_data("train"), load_data("test")
    few, judged = train.take(torch.arange(512)), test.take(torch.arange(256))
    batches = list(zip(few.inputs().split(64), few.labels.split(64), strict=True))
    return pj.Task(
        model=load_network(),
        example_inputs=test.inputs()[:1],
        train=Augmented(few, batch=64),
        calibration=batches[:4],
        loss=lambda outputs, batch: torch.nn.functional.cross_entropy(outputs, batch[1]),
        evaluate=lambda model: accuracy(model, judged.images, judged.labels),
    )
