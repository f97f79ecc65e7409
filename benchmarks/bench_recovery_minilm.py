"""MiniLM with its published weights, cut without labels and without training.

    python benchmarks/bench_recovery_minilm.py [--budget 0.7 ...]
                                               [--cut NAME ...] [--recovery NAME ...] [--fresh] [--summary]

Heads, widths of heads and of feed-forward layers go, and whole ones where depth may; latency is that of the
exported file for one text of 128 tokens. What counts, on texts that nothing was calibrated on: the cosine
between the cut network's embeddings and the original's, and how well the first paragraph of a docstring finds
the rest of it among 1,500.

Every figure is stored as soon as it is there: a run that was stopped goes on where it was.
"""

from __future__ import annotations

import logging
import warnings
from argparse import Namespace
from functools import cache as once

import torch
from recovery_data import TOKENS, Embedder, Pair, docstrings, embedded, encoded, minilm, retrieval
from recovery_records import PRECISION, Records, Recovery, Trial, arguments, kept_cut, loaded, missing, wanted
from torch import Tensor, nn

import penjing as pj
from penjing.recover import Situation

BUDGETS = (0.7, 0.5)
CUTS: dict[str, tuple[str, bool]] = {
    "obs": ("obs", False),
    "obs, depth": ("obs", True),
    "taylor": ("taylor", False),
    "magnitude": ("magnitude", False),
}
"""Criterion of penjing, and whether whole attentions and feed-forward layers may go, too.

Gradients are those of the embeddings along random directions.
"""

TEXTS = 512
"""How many texts calibrate: queries and documents, half of each."""

RECOVERIES: dict[str, Recovery] = {
    "as cut": Recovery(),
    "closed form": Recovery([pj.Reconstruct()]),
    "blockwise": Recovery([pj.Blockwise(precision=PRECISION)], after="closed form"),
}

Tokens = dict[str, Tensor]


@once
def original() -> Embedder:
    return minilm()


@once
def held() -> list[Pair]:
    return docstrings()[1]


@once
def known() -> tuple[Tensor, Tensor]:
    """The original's embeddings of queries and documents held back."""
    return (
        embedded(original(), [pair.query for pair in held()]),
        embedded(original(), [pair.document for pair in held()]),
    )


@once
def calibration() -> list[Tokens]:
    """Texts of like length together: little of a batch is padding."""
    pairs = docstrings()[0][: TEXTS // 2]
    texts = [text for pair in pairs for text in (pair.query, pair.document)]
    return encoded(sorted(texts, key=len))


@once
def example() -> Tokens:
    """One text of 128 tokens."""
    long = max((pair.document for pair in docstrings()[0]), key=len)
    (batch,) = encoded([long])
    assert batch["input_ids"].shape == (1, TOKENS)
    return batch


def loss(outputs: Tensor, batch: Tokens) -> Tensor:
    """Along a random direction for every text, the same at every call."""
    generator = torch.Generator().manual_seed(int(batch["input_ids"].sum()))
    return (outputs * torch.randn(outputs.shape, generator=generator)).sum()


def judged(model: nn.Module) -> dict[str, float]:
    """Cosine to the original, its mean and the lowest of twenty; and retrieval."""
    queries = embedded(model, [pair.query for pair in held()])
    documents = embedded(model, [pair.document for pair in held()])
    cosine = (torch.cat([queries, documents]) * torch.cat(known())).sum(1)
    return {
        "cosine": round(cosine.mean().item(), 4),
        "cosine_5_percent": round(cosine.quantile(0.05).item(), 4),
        **retrieval(queries, documents),
    }


def run(budget: float, records: Records, given: Namespace) -> None:
    """Every criterion, with every recovery."""
    for name in wanted(CUTS, given):
        row = records.row(f"{budget}x", "penjing", name)

        def prune(name: str = name) -> pj.Result:
            criterion, depth = CUTS[name]
            return pj.prune(
                original(),
                example(),
                budget=f"latency={budget}x",
                criterion=criterion,
                depth=depth,
                data=calibration(),
                loss=loss,
            )

        folder = kept_cut(row, f"minilm-{budget}x-{name}", prune, original())
        records.keep()
        asked = missing(row, RECOVERIES, given)
        if asked:
            model, plan = loaded(folder, minilm)
            situation = Situation(original(), calibration(), net=pj.trace(original(), example()), plan=plan)
            trial = Trial(model, RECOVERIES, situation)
            for recovery in asked:
                made, took = trial.run(recovery)
                records.note(row, f"{budget}x", f"penjing {name}", recovery, {**judged(made), **took})


def main() -> None:
    parser = arguments(__doc__, BUDGETS)
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    records = Records.read("recovery_minilm")
    if not given.summary:
        if "uncut" not in records.found["networks"]:
            records.found["networks"]["uncut"] = retrieval(*known())
            records.keep()
        for budget in given.budget:
            records.forget(f"{budget}x", given)
            run(budget, records, given)
    print(records.found["networks"])
    for figure in ("cosine", "mrr_10"):
        print(figure, records.summary(figure), sep="\n")


if __name__ == "__main__":
    main()
