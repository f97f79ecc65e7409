"""The optimizer of a fine-tuning, the rate it works at, and its state as tensors and plain values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from penjing.recover.sharded import write
from penjing.recover.weights import clone

Optimizer = Literal["adamw", "sgd"]
Schedule = Literal["cosine", "linear", "constant"]


def optimizer_of(
    trained: Sequence[nn.Parameter],
    name: Optimizer,
    *,
    lr: float,
    weight_decay: float,
    momentum: float,
    nesterov: bool,
) -> torch.optim.Optimizer:
    """AdamW or SGD; scales and biases do not decay.

    Source: Loshchilov, Hutter 2017, arXiv:1711.05101; Sutskever et al. 2013, PMLR 28(3), for `nesterov`.
    """
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=lr)
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov)


def scheduled(schedule: Schedule, steps: int, warmup: float) -> Callable[[int], float]:
    """Factor of the learning rate at each step, from 0.

    Up along a line over the first `warmup` of the steps (one step at least, unless it is 0), then half a
    cosine to zero (Loshchilov, Hutter 2016, arXiv:1608.03983, eq. 5, without restarts), a line to zero, or
    neither.
    """
    warm = max(1, int(steps * warmup + 1e-9)) if warmup else 0

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / (warm + 1)
        done = min(1.0, (step - warm) / max(1, steps - warm))
        if schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        return 1 - done if schedule == "linear" else 1.0

    return factor


def taken(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A copy of the optimizer's state: tensors as `place/name`, and all that is no tensor."""
    state = optimizer.state_dict()
    tensors, plain = {}, {}
    for place, entries in state["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{place}/{name}"] = clone(value)
            else:
                plain[f"{place}/{name}"] = value
    return tensors, plain


def given_back(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]
) -> None:
    """The inverse of `taken`, bit for bit; what a tensor of a parameter's shape is, lies in memory as it."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for key, value in {**tensors, **plain}.items():
        place, _, name = key.partition("/")
        parameter = parameters[int(place)]
        if isinstance(value, Tensor):
            like = torch.empty_like(parameter if value.shape == parameter.shape else value, dtype=value.dtype)
            write(like, value)
            value = like
        state.setdefault(int(place), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
