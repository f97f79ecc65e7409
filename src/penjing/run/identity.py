"""What makes a job the same job: its recipe, its model's weights, and its data."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from difflib import ndiff
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from penjing.devices import Estimating
from penjing.network.seeding import seeded
from penjing.run.job import Job
from penjing.run.recipe import DATA, options_of, recipe_of

_PLAIN = (bool, int, float, str, bytes, type(None))


def identity(job: Job) -> dict[str, Any]:
    """A job as a record.

    Data are known by the first batch alone, and only where they give the same one when they are read again.
    """
    between = () if job.schedule is None else job.schedule.steps or ()
    steps = {
        f"{where}.{number}.{name}": getattr(step, name)
        for where, given in (("recover", job.recover), ("schedule.recover", between))
        for number, step in enumerate(given, 1)
        for name in DATA
        if getattr(step, name, None) is not None
    }
    data = {"data": job.data, **steps}
    return {
        "recipe": recipe_of(job),
        "given": {
            "model": f"{type(job.model).__qualname__} {state_hash(job.model)}",
            "criterion": str(options_of(job.criterion)),
            "example_inputs": _hash(job.example_inputs),
            "device": _device(job),
            **{name: _first(batches, job.seed) for name, batches in data.items() if batches is not None},
        },
        "why": job.why,
        "where": os.getcwd(),
    }


def _device(job: Job) -> str:
    """What a sheet says, which its name does not tell; "" for devices that are known by their names."""
    return job.device.content if isinstance(job.device, Estimating) else ""


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Line by line, what two jobs do not have in common: `- ` as it was, `+ ` as it is now."""
    lines = ndiff(before["recipe"].splitlines(), now["recipe"].splitlines())
    found = [line for line in lines if line[:2] in ("- ", "+ ") and line[2:].strip()]
    for name in sorted({*before["given"], *now["given"]}):
        one, other = before["given"].get(name), now["given"].get(name)
        if one != other and "" not in (one, other):
            found += [f"{sign} {name}: {value}" for sign, value in (("-", one), ("+", other)) if value]
    return found


def state_hash(model: nn.Module) -> str:
    """Of names, types, shapes and values of a model's state."""
    found = hashlib.sha256()
    for name, value in model.state_dict().items():
        found.update(name.encode())
        _add(found, value)
    return found.hexdigest()[:16]


def _first(batches: Iterable[Any], seed: int) -> str:
    """Of the first batch; "" where it is another one each time, or cannot be read at all."""
    found = []
    for _ in range(2):
        try:
            with seeded(seed):
                batch = next(iter(batches), None)
        except Exception:  # the user's own code: the stage that needs the data says what is wrong with them
            return ""
        found.append(_hash(batch))
    return found[0] if found[0] == found[1] else ""


def _hash(value: Any) -> str:
    found = hashlib.sha256()
    for leaf in _leaves(value):
        _add(found, leaf)
    return found.hexdigest()[:16]


def _leaves(value: Any) -> Iterator[Any]:
    """Tensors and plain values, in order, out of whatever structure."""
    for leaf in pytree.tree_leaves(value):
        if isinstance(leaf, Mapping):  # of a kind that torch does not look into
            yield from pytree.tree_leaves(dict(leaf))
        else:
            yield leaf


def _add(found: Any, leaf: Any) -> None:
    """Takes a value into a hash; of an object that is no value, its type."""
    if isinstance(leaf, np.ndarray) and leaf.dtype != object:
        found.update(f"{leaf.dtype} {leaf.shape}".encode())
        found.update(np.ascontiguousarray(leaf).tobytes())
    elif isinstance(leaf, Tensor) and not leaf.is_sparse and not leaf.is_quantized:
        found.update(f"{leaf.dtype} {tuple(leaf.shape)}".encode())
        plain = leaf.detach().cpu().contiguous().reshape(-1)
        found.update(plain.view(torch.uint8).numpy().tobytes() if plain.numel() else b"")
    else:
        found.update((repr(leaf) if isinstance(leaf, _PLAIN) else type(leaf).__qualname__).encode())
