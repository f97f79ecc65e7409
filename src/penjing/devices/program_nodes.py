"""Times of the single operators of an exported program, called one by one by PyTorch."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, fx

from penjing.devices.nodes import LEAST_RUNS, NodeTime, quicker_third
from penjing.network.call import Call

_KINDS: Final[Mapping[str, str]] = {
    **{f"conv{n}d": "Conv" for n in (1, 2, 3)},
    **dict.fromkeys(("linear", "addmm", "mm"), "MatMul"),
}


def profiled(module: fx.GraphModule, call: Call, seconds: float) -> list[NodeTime]:
    """Walks through a program on one call, for `seconds`, at least 12 times; each operator by the wall."""
    watch = _Watch(module)
    leaves = torch.utils._pytree.tree_leaves((call.args, call.kwargs))
    with torch.inference_mode():
        end, runs = time.perf_counter() + seconds, 0
        while runs < LEAST_RUNS or time.perf_counter() < end:
            watch.run(*leaves)
            runs += 1
    return [
        NodeTime(name, *watch.described[name], quicker_third(times)) for name, times in watch.times.items()
    ]


class _Watch(fx.Interpreter):
    """Times every operator that computes."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.times: dict[str, list[float]] = defaultdict(list)
        self.described: dict[str, tuple[str, tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]] = {}

    def run_node(self, n: fx.Node) -> Any:
        if n.op != "call_function":
            return super().run_node(n)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        start = time.perf_counter()
        value = self.call_function(n.target, args, kwargs)
        self.times[n.name].append((time.perf_counter() - start) * 1e3)
        if n.name not in self.described:
            given = torch.utils._pytree.tree_leaves((args, kwargs))
            made = torch.utils._pytree.tree_leaves(value)
            name = str(n.target).removeprefix("aten.").split(".")[0]
            self.described[n.name] = (_KINDS.get(name, name), _shapes(given), _shapes(made))
        return value


def _shapes(leaves: list[Any]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(leaf.shape) for leaf in leaves if isinstance(leaf, Tensor))
