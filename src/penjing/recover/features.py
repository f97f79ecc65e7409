"""Inner features of a model while it runs: which, and how they are caught."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from torch import Tensor, nn

from penjing.errors import PenjingError
from penjing.recover.losses import real_leaves

Features = dict[str, Tensor]
_CONTAINERS = (nn.Sequential, nn.ModuleList)


def chosen(model: nn.Module, patterns: Sequence[str] | None) -> list[str]:
    """Names of the modules whose outputs are compared.

    Args:
        model: the original.
        patterns: of module names; None for what looks like a block: modules made of modules that stand in a
            list or sequence; failing those, such as stand in the model itself; failing those, the layers of
            the model but the last. Of modules inside one another the outer is taken.

    Raises:
        PenjingError: PJ317, there is none.
    """
    named = {name: module for name, module in model.named_modules() if name}
    if patterns is not None:
        found = [name for name in named if any(fnmatchcase(name, pattern) for pattern in patterns)]
    else:
        listed = [name for name in named if isinstance(_parent(model, name), _CONTAINERS)]
        direct = [name for name in named if "." not in name]
        layers = [name for name in named if _trains(named[name]) and not _composite(named[name])]
        found = (
            _outer([name for name in listed if _composite(named[name])])
            or [name for name in direct if _composite(named[name])]
            or layers[:-1]
        )
    if not found:
        raise PenjingError(
            "PJ317",
            f"there are no features of `{type(model).__name__}` to compare",
            because="no module has such a name" if patterns else "nothing in it looks like a block",
            tries=['features=["encoder.layers.*"]: patterns of module names'],
        )
    return found


@contextmanager
def caught(model: nn.Module, names: Sequence[str]) -> Iterator[Features]:
    """Inside, each run of `model` leaves the outputs of the modules named; the first real tensor of each."""
    found: Features = {}

    def catch(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        real = real_leaves(output)
        if real:
            found[name] = real[0]

    modules = dict(model.named_modules())
    with ExitStack() as stack:
        for name in names:
            if name in modules:
                handle = modules[name].register_forward_hook(partial(catch, name))
                stack.callback(handle.remove)
        yield found


def _parent(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name.rpartition(".")[0])


def _trains(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _composite(module: nn.Module) -> bool:
    return any(_trains(child) for child in module.children())


def _outer(names: list[str]) -> list[str]:
    return [name for name in names if not any(name.startswith(f"{other}.") for other in names)]
