"""What holds around training that is not ours: shapes stay, weights are finite, frozen ones stay still."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from torch import nn

from penjing.errors import PenjingError
from penjing.network.batch import kept_modes
from penjing.network.seeding import seeded
from penjing.network.source import where
from penjing.recover.step import Situation
from penjing.recover.weights import copied, named_tensors, not_finite, put

Make = Callable[[nn.Module, nn.Module], Any]
"""(model, original) -> what trains the model in place."""


@contextmanager
def guarded(model: nn.Module, situation: Situation, what: str) -> Iterator[list[str]]:
    """Code inside may train `model` in place; random numbers follow from the job's seed.

    Afterwards: modes, devices and what asks for gradients are as before, frozen parameters hold what they
    held, gradients are gone. Where the code fails or leaves NaN, weights are as before, too.

    Args:
        model: the cut model.
        situation: of the step.
        what: the step, for errors.

    Yields:
        Notes for the record.

    Raises:
        PenjingError: PJ330, the code raises; PJ331, shapes or types of tensors are others; PJ332, weights
            are not finite.
    """
    before, kinds, devices = copied(model), _kinds(model), {n: t.device for n, t in named_tensors(model)}
    asks = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    notes: list[str] = []
    done = False
    try:
        with kept_modes(model, situation.original), seeded(situation.seed):
            situation.original.eval()
            yield notes
        _check_kinds(model, kinds, what)
        spoiled = not_finite(model)
        if spoiled:
            raise PenjingError(
                "PJ332",
                f"{what} leaves weights that are not finite: they are as before again",
                because=f"{_few(spoiled)} hold NaN or infinity",
                tries=["a lower learning rate", "clipped gradients", "look for NaN in the training data"],
            )
        done = True
    except PenjingError:
        raise
    except Exception as error:  # the code is the user's: whatever it raises is reported with its place
        raise PenjingError(
            "PJ330", f"{what} fails", because=f"{type(error).__name__}: {error}", path=where(error)
        ) from error
    finally:
        model.zero_grad(set_to_none=True)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(asks.get(name, parameter.requires_grad))
        _move_back(model, devices)
        now = _kinds(model)
        same = {name: tensor for name, tensor in before.items() if now.get(name) == kinds[name]}
        if not done:
            put(model, same)
    _put_frozen(model, {n: t for n, t in before.items() if not asks.get(n, True)}, notes)
    if all(torch.equal(tensor, before[name]) for name, tensor in named_tensors(model)):
        notes.append(f"{what} has changed nothing")


def checked_function(given: object, what: str) -> None:
    """Refuses what cannot be called, such as the name that a recipe has for a function.

    Raises:
        PenjingError: PJ313.
    """
    if not callable(given):
        raise PenjingError(
            "PJ313",
            f"{what} is given no function",
            because=f"`{given}` is a {type(given).__name__}: a function cannot be read from a recipe",
            tries=[f"{what}(lambda model, original: ...), from Python"],
        )


def optional(name: str, what: str, extra: str) -> Any:
    """A module that penjing does not depend on.

    Raises:
        PenjingError: PJ333, it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise PenjingError(
            "PJ333",
            f"{what} needs the package `{name.partition('.')[0]}`",
            because=str(error),
            tries=[f'pip install "penjing[{extra}]"'],
        ) from error


def checked_made(made: object, kind: type, holds: bool, what: str) -> None:
    """Refuses a trainer of another kind, or of another model.

    Raises:
        PenjingError: PJ331.
    """
    if not isinstance(made, kind):
        raise PenjingError(
            "PJ331",
            f"{what} is given no {kind.__name__}",
            because=f"its function returns a {type(made).__name__}",
            tries=[f"let the function (model, original) return a {kind.__name__} that trains `model`"],
        )
    if not holds:
        raise PenjingError(
            "PJ331",
            f"{what} would train another model",
            because=f"the {type(made).__name__} does not hold the model that its function is given",
            tries=["let it hold `model` itself, not a copy"],
        )


def _kinds(model: nn.Module) -> dict[str, tuple[Any, ...]]:
    return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in named_tensors(model)}


def _check_kinds(model: nn.Module, before: Mapping[str, tuple[Any, ...]], what: str) -> None:
    now = _kinds(model)
    changed = [name for name in {**before, **now} if now.get(name) != before.get(name)]
    if changed:
        told = [f"`{name}`: {_shown(before.get(name))}, now {_shown(now.get(name))}" for name in changed]
        raise PenjingError(
            "PJ331",
            f"{what} changes the shapes of the model: only values may change",
            because="; ".join(told[:3]),
            tries=["train the model in place; cut it by a plan"],
        )


def _shown(kind: tuple[Any, ...] | None) -> str:
    return "none" if kind is None else f"{kind[0]} {str(kind[1]).removeprefix('torch.')}"


def _move_back(model: nn.Module, devices: Mapping[str, torch.device]) -> None:
    moved = {devices[name] for name, t in named_tensors(model) if devices.get(name, t.device) != t.device}
    if len(moved) == 1:
        model.to(moved.pop())


def _put_frozen(model: nn.Module, frozen: Mapping[str, torch.Tensor], notes: list[str]) -> None:
    moved = [n for n, p in model.named_parameters() if n in frozen and not torch.equal(p, frozen[n])]
    if moved:
        put(model, frozen)
        notes.append(f"{_few(moved)} were frozen and had been changed: put back")


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(f"`{name}`" for name in names[:3]) + more
