"""One run of the user's code in which its integers are remembered: which reach which call, and as what."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import fx, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from penjing.network import Network
from penjing.network.copied import copied
from penjing.network.untouched import forget
from penjing.surgery.literals import Path, numbers, plain
from penjing.surgery.places import Place, caller
from penjing.surgery.tracked import Leaf, Tracked, comparisons

CallKey = tuple[str, str]
"""Which call of which torch function: the tracer marks its graph nodes with the same pair."""

_NEVER = frozenset({"training", "call_super_init", "dump_patches", "_version", "_is_full_backward_hook"})
_OWN = ("_hooks", "_parameters", "_buffers", "_modules", "_hooks_with_kwargs", "_hooks_always_called")


@dataclass
class Sighting:
    """One call: its numbers, where in the code it stands, and in which module.

    Attributes:
        key: which call of the run.
        numbers: place among the arguments -> number, remembered or not.
        place: where in the code.
        module: path of the innermost module being called.
        turn: which call of that module.
    """

    key: CallKey
    numbers: dict[Path, Any]
    place: Place
    module: str
    turn: int


@dataclass
class Watch:
    """What was seen: calls in order, and pairs of remembered integers that the code found equal, or not."""

    sightings: list[Sighting] = field(default_factory=list)
    equal: list[tuple[Any, Any]] = field(default_factory=list)
    unequal: list[tuple[Any, Any]] = field(default_factory=list)


class CallCounter(TorchFunctionMode):
    """Counts calls as the tracer does, and knows the innermost module being called."""

    def __init__(self) -> None:
        super().__init__()
        self._counts: dict[Any, int] = defaultdict(int)
        self._stack: list[tuple[str, int, Counter[Place]]] = [("", 0, Counter())]
        self._turns: Counter[str] = Counter()

    @contextmanager
    def around(self, model: nn.Module) -> Iterator[None]:
        """Follows every module of `model` while it is called."""
        handles = []
        for path, module in model.named_modules():

            def enter(*_: Any, path: str = path) -> None:
                self._turns[path] += 1
                self._stack.append((path, self._turns[path], Counter()))

            handles.append(module.register_forward_pre_hook(enter))
            handles.append(module.register_forward_hook(self._leave, always_call=True))
        fast_path = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            with torch.enable_grad(), _as_exported(), self:
                yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast_path)
            for handle in handles:
                handle.remove()

    def count(self, func: Any) -> CallKey:
        """The tracer's name of this call."""
        self._counts[func] += 1
        name = getattr(func, "__name__", "")
        return f"{name}_{self._counts[func]}", f"{type(func).__name__}.{name}"

    def locate(self, func: Any) -> tuple[Place, str, int]:
        """Where this call stands, in which module, and in which call of that module."""
        path, turn, seen = self._stack[-1]
        place, _ = caller(getattr(func, "__name__", ""))
        seen[place] += 1
        return replace(place, occurrence=seen[place] - 1), path, turn

    def _leave(self, *_: Any) -> None:
        self._stack.pop()


@contextmanager
def _as_exported() -> Iterator[None]:
    """Code that asks whether it is being exported takes the path that the tracer saw."""
    flags = {name: getattr(torch.compiler, name) for name in ("_is_compiling_flag", "_is_exporting_flag")}
    try:
        for name in flags:
            setattr(torch.compiler, name, True)
        yield
    finally:
        for name, value in flags.items():
            setattr(torch.compiler, name, value)


class _Watcher(CallCounter):
    """Notes the numbers of each call, and gives back shapes that are remembered."""

    def __init__(self, seen: Watch) -> None:
        super().__init__()
        self._watch = seen
        self._made: dict[int, tuple[CallKey, int, Any]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        key = self.count(func)
        if not is_shape(func):
            found = dict(numbers((args, kwargs)))
            self._watch.sightings.append(Sighting(key, found, *self.locate(func)))
        result = func(*plain(args), **plain(kwargs))
        if is_shape(func) and isinstance(result, torch.Size):
            return self._remember(args[0], result)
        if is_shape(func) and isinstance(result, int) and (len(args) > 1 or kwargs):
            return self._remember(args[0], args[0].shape)[args[1] if len(args) > 1 else kwargs["dim"]]
        for place, leaf in enumerate(pytree.tree_leaves(result)):
            if isinstance(leaf, torch.Tensor):
                self._made[id(leaf)] = (key, place, leaf)
        return result

    def introduce(self, tensor: torch.Tensor, name: str) -> None:
        """Names a tensor that no call makes: an input, a parameter."""
        self._made[id(tensor)] = (("given", name), 0, tensor)

    def _remember(self, tensor: torch.Tensor, shape: torch.Size) -> Any:
        known = self._made.get(id(tensor))
        if known is None:
            return shape
        (call, kind), output, _ = known
        return torch.Size(
            [
                Tracked(size, Leaf(("shape", call, kind, str(output), str(dim)), size))
                for dim, size in enumerate(shape)
            ]
        )


def watch(net: Network) -> Watch:
    """Runs a copy of the user's module once, on the example inputs; every integer attribute is remembered."""
    model = copied(net.model)
    forget(model)
    model.eval()
    for path, module in model.named_modules():
        _remember_attributes(module, path)
    seen = Watch()
    watcher = _Watcher(seen)
    by_name = dict(model.named_parameters(remove_duplicate=False)) | dict(
        model.named_buffers(remove_duplicate=False)
    )
    for name, tensor in by_name.items():
        watcher.introduce(tensor, name)
    leaves = pytree.arg_tree_leaves(*net.call.args, **net.call.kwargs)
    for name, leaf in zip(net.trace.inputs, leaves, strict=True):
        if isinstance(leaf, torch.Tensor):
            watcher.introduce(leaf, name)
    with comparisons(seen.equal, seen.unequal), watcher.around(model):
        net.call.run(model)
    return seen


def is_shape(func: Any) -> bool:
    """Whether `func` reads the shape of a tensor."""
    # every access to `Tensor.shape.__get__` makes another, equal, wrapper: `is` never holds
    return func is torch.Tensor.size or func == torch.Tensor.shape.__get__  # type: ignore[attr-defined]


def nodes_by_call(net: Network) -> dict[CallKey, list[fx.Node]]:
    """Graph nodes by the call that made them."""
    found: dict[CallKey, list[fx.Node]] = defaultdict(list)
    for node in net.trace.graph.nodes:
        if node.op == "call_function" and "torch_fn" in node.meta:
            found[node.meta["torch_fn"]].append(node)
    return dict(found)


def integer_attributes(module: nn.Module) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Attributes of a module that hold an integer, or a tuple or list with some; settings one level deep."""
    for name, value in vars(module).items():
        if name in _NEVER or (name.startswith("_") and name.endswith(_OWN)):
            continue
        if has_integers(value):
            yield (name,), value
        elif is_settings(value):
            for inner, held in vars(value).items():
                if has_integers(held):
                    yield (name, inner), held


def is_settings(value: Any) -> bool:
    """Whether `value` is a plain object of settings (a config): no tensor, module or function."""
    return (
        hasattr(value, "__dict__")
        and not isinstance(value, nn.Module | torch.Tensor | type)
        and not callable(value)
        and bool(vars(value))
    )


def _remember_attributes(module: nn.Module, path: str) -> None:
    copies: dict[str, Any] = {}
    for attribute, value in list(integer_attributes(module)):
        name = attribute[0]
        holder: Any = vars(module)
        if len(attribute) == 2:  # settings are shared between modules: a copy each tells them apart
            if name not in copies:
                copies[name] = copy(holder[name])
                holder[name] = copies[name]
            holder = vars(copies[name])
        holder[attribute[-1]] = remember(value, ("attribute", path, *attribute))


def remember(value: Any, origin: tuple[str, ...]) -> Any:
    """`value` with its integers remembered; entries of a tuple or list get their place in the origin."""
    if isinstance(value, int) and not isinstance(value, bool):
        return Tracked(value, Leaf(origin, value))
    entries = [
        Tracked(entry, Leaf((*origin, f"[{place}]"), entry)) if type(entry) is int else entry
        for place, entry in enumerate(value)
    ]
    if isinstance(value, torch.Size):
        return torch.Size(entries)
    return entries if isinstance(value, list) else tuple(entries)


def has_integers(value: Any) -> bool:
    """Whether `value` is a plain integer, or a tuple or list with one."""
    if isinstance(value, int):
        return type(value) is int
    return type(value) in (tuple, list, torch.Size) and any(type(entry) is int for entry in value)
