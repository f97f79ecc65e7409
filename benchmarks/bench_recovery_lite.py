"""EfficientNet-Lite0 with its ImageNet weights, cut without labels and without training.

    python benchmarks/bench_recovery_lite.py [--budget 0.9 ...] [--only SIDE]
                                             [--cut NAME ...] [--recovery NAME ...] [--fresh] [--summary]

What counts is how often the cut network names the same class as the original, on pictures that nothing was
calibrated on: photographs, cut-outs, drawings and letters alike, and photographs alone. The labels of 20
photographs of ImageNet, of which half are held back, are counted too. Latency is that of the exported file.

Every figure is stored as soon as it is there: a run that was stopped goes on where it was.
"""

from __future__ import annotations

import logging
import math
import warnings
from argparse import Namespace
from functools import cache as once
from typing import Any

import recovery_peer
import torch
from recovery_data import Pictures, lite0, pictures, scores
from recovery_records import PRECISION, Records, Recovery, Trial, arguments, kept_cut, loaded, missing, wanted
from torch import Tensor, nn
from torch.nn import functional

import penjing as pj
from penjing.recover import Situation

BUDGETS = (0.9, 0.8, 0.7)
BATCH = 29
"""Divides the number of pictures: batch norms weigh every batch alike."""

COPIES = 3
"""How often each picture calibrates: as it is, and as parts of it, mirrored or not."""

EXAMPLE = torch.zeros(1, 3, 224, 224)
CRITERIA = ("obs", "taylor", "magnitude")
"""Of penjing; gradients are those of the loss against the original's own classes."""

RECOVERIES: dict[str, Recovery] = {
    "as cut": Recovery(),
    "batch norm": Recovery([pj.BatchNorm()]),
    "closed form": Recovery([pj.Reconstruct(memory_bytes=12 * 2**30)]),
    "blockwise": Recovery([pj.Blockwise(precision=PRECISION)], after="closed form"),
}
PEER = ("magnitude", "magnitude, global")


@once
def original() -> nn.Module:
    return lite0()


@once
def halves() -> tuple[Pictures, Pictures]:
    return pictures()


@once
def known() -> Tensor:
    """The original's scores of the pictures held back."""
    return scores(original(), halves()[1])


@once
def calibration() -> list[tuple[Tensor, Tensor]]:
    """Pictures and parts of them, and what the original takes them for; those of one picture lie together."""
    generator = torch.Generator().manual_seed(0)
    whole = halves()[0].inputs().split(BATCH)
    inputs = [
        part for batch in whole for part in (batch, *(parts(batch, generator) for _ in range(COPIES - 1)))
    ]
    with torch.no_grad():
        return [(part, original()(part).argmax(1)) for part in inputs]


def parts(images: Tensor, generator: torch.Generator) -> Tensor:
    """A square of half of each picture or more, at full size again, every other one mirrored."""
    found = []
    for image in images:
        side = int(image.shape[-1] * math.sqrt(0.5 + 0.5 * float(torch.rand((), generator=generator))))
        top, left = torch.randint(image.shape[-1] - side + 1, (2,), generator=generator).tolist()
        part = image[None, :, top : top + side, left : left + side]
        part = functional.interpolate(part, size=image.shape[1:], mode="bilinear", antialias=True)[0]
        found.append(part.flip(2) if torch.rand((), generator=generator) < 0.5 else part)
    return torch.stack(found)


def loss(outputs: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
    return functional.cross_entropy(outputs, batch[1])


def judged(model: nn.Module) -> dict[str, float]:
    """Agreement with the original, and the labelled photographs that are right."""
    first, held = halves()
    given = scores(model, held)
    same = (given.argmax(1) == known().argmax(1)).float()
    labelled = first.take((first.labels >= 0).nonzero().squeeze(1))
    right = int((scores(model, labelled).argmax(1) == labelled.labels).sum())
    right_held = int((given.argmax(1) == held.labels).sum())
    return {
        "agreement": round(same.mean().item(), 4),
        "agreement_photographs": round(same[held.photographs].mean().item(), 4),
        "labelled_20": right + right_held,
        "labelled_held_10": right_held,
    }


def ours(budget: float, records: Records, given: Namespace) -> None:
    """Every criterion of penjing, with every recovery."""
    for criterion in wanted(CRITERIA, given):
        row = records.row(f"{budget}x", "penjing", criterion)

        def prune(criterion: str = criterion) -> pj.Result:
            return pj.prune(
                original(),
                EXAMPLE,
                budget=f"latency={budget}x",
                criterion=criterion,
                data=calibration(),
                loss=loss,
            )

        folder = kept_cut(row, f"lite0-{budget}x-{criterion}", prune, original())
        records.keep()
        names = missing(row, RECOVERIES, given)
        if names:
            model, plan = loaded(folder, lite0)
            situation = Situation(original(), calibration(), net=pj.trace(original(), EXAMPLE), plan=plan)
            trial = Trial(model, RECOVERIES, situation)
            for name in names:
                made, took = trial.run(name)
                records.note(row, f"{budget}x", f"penjing {criterion}", name, {**judged(made), **took})


def theirs(budget: float, records: Records, given: Namespace) -> None:
    """torch-pruning by magnitude, at the same latency, as cut and with its batch norms re-estimated."""
    situation, table = (
        Situation(original(), calibration()),
        {n: RECOVERIES[n] for n in ("as cut", "batch norm")},
    )
    for way in wanted(PEER, given):
        row = records.row(f"{budget}x", "torch-pruning", way)
        if not row:
            found = recovery_peer.fit(original(), EXAMPLE, way, budget)
            row.clear()
            row.update({**(found.record() if found else {"error": "above the limit"}), "recovered": {}})
            records.keep()
        names = [] if "error" in row else missing(row, table, given)
        if names:
            means = recovery_peer.WAYS[way]
            model = recovery_peer.cut(original(), EXAMPLE, means, row["ratio"], row["round_to"])
            trial = Trial(model, table, situation)
            for name in names:
                made, took = trial.run(name)
                records.note(row, f"{budget}x", f"torch-pruning {way}", name, {**judged(made), **took})


def uncut(records: Records) -> None:
    """What re-estimating batch norms on these pictures does to the original itself."""
    networks: dict[str, Any] = records.found["networks"]
    if "uncut" not in networks:
        same, _ = Trial(original(), RECOVERIES, Situation(original(), calibration())).run("batch norm")
        networks["uncut"] = judged(original())
        networks["uncut, batch norm"] = judged(same)
        records.keep()


def main() -> None:
    parser = arguments(__doc__, BUDGETS)
    parser.add_argument("--only", choices=("penjing", "torch-pruning"))
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    records = Records.read("recovery_lite")
    if not given.summary:
        uncut(records)
        for budget in given.budget:
            records.forget(f"{budget}x", given)
            if given.only != "torch-pruning":
                ours(budget, records, given)
            if given.only != "penjing":
                theirs(budget, records, given)
    print(records.found["networks"])
    print(records.summary("agreement"))


if __name__ == "__main__":
    main()
