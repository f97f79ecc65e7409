"""Configs: new settings from which the model's own class builds the cut architecture (`save_pretrained`, `from_pretrained`).

The class is built once on the `meta` device from a config whose integers remember where they came from. Every size that a layer
keeps is then an expression of settings, which the cut model says the value of. The answer is checked by building the class again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from penjing.surgery.adapt import Demand, solve
from penjing.surgery.mirrors import mirrored
from penjing.surgery.tracked import Expression, Leaf, Origin, Tracked, evaluate, expression_of
from penjing.surgery.watch import integer_attributes, is_settings

SettingsPath = tuple[str, ...]


def rebuilds_from_config(model: nn.Module) -> bool:
    """Whether the model's class is built from one config and loads itself (a Hugging Face model)."""
    return hasattr(type(model), "from_pretrained") and is_settings(vars(model).get("config"))


def new_settings(model: nn.Module, cut: nn.Module, edited: set[tuple[str, tuple[str, ...]]]) -> dict[SettingsPath, int] | str:
    """Settings that differ for the cut model, or why no config can say what it is.

    Args:
        model: the original.
        cut: the cut copy of it.
        edited: (module path, attribute path) of the sizes that the code was seen to need, already changed in `cut`.
    """
    remembered = deepcopy(vars(model)["config"])
    for path, holder, name in list(_integers(remembered)):
        holder[name] = Tracked(holder[name], Leaf(("attribute", ".".join(path), name), holder[name]))
    try:
        built = _build(type(model), remembered)
    except Exception as error:  # a class may refuse integers of another kind; then its config is left alone
        return f"`{type(model).__name__}` cannot be built from a config whose sizes are watched ({error})"
    wanted = list(_demands(built, cut, edited))
    values, failed = solve(wanted, {})
    if failed:
        return f"no setting gives {failed[0].call} the value {failed[0].value}"
    changed = _changed(vars(model)["config"], values)
    config = with_settings(vars(model)["config"], changed)
    try:
        rebuilt = _build(type(model), config)
    except Exception as error:
        return f"`{type(model).__name__}` does not accept the new settings ({error})"
    return _difference(cut, rebuilt) or changed


def with_settings(config: Any, changed: Mapping[SettingsPath, int]) -> Any:
    """A copy of `config` with some settings changed; nested configs by path."""
    fresh = deepcopy(config)
    for path, value in changed.items():
        holder = vars(fresh)
        for part in path[:-1]:
            holder = vars(holder[part])
        holder[path[-1]] = value
    return fresh


def settle(built: nn.Module, values: Mapping[Origin, int]) -> Iterator[tuple[str, tuple[str, ...], int]]:
    """Every remembered size attribute of `built` and its value under new settings."""
    for path, module in built.named_modules():
        for attribute, held in integer_attributes_of(module):
            value = evaluate(held, values)
            if value is not None:
                yield path, attribute, value


def integer_attributes_of(module: nn.Module) -> Iterator[tuple[tuple[str, ...], Expression]]:
    """Plain attributes of a module that hold a remembered integer."""
    for name, value in vars(module).items():
        if isinstance(value, Tracked):
            yield (name,), value.expression


def _build(kind: type[nn.Module], config: Any) -> nn.Module:
    with torch.device("meta"):
        built: nn.Module = kind(config)
    return built


def _integers(settings: Any, path: SettingsPath = ()) -> Iterator[tuple[SettingsPath, dict[str, Any], str]]:
    """(path, dict, key) of every integer in a config and the configs inside it."""
    for name, value in vars(settings).items():
        if type(value) is int and not name.startswith("_"):
            yield path, vars(settings), name
        elif is_settings(value):
            yield from _integers(value, (*path, name))


def _demands(built: nn.Module, cut: nn.Module, edited: set[tuple[str, tuple[str, ...]]]) -> Iterator[Demand]:
    for path, module in built.named_modules():
        other = cut.get_submodule(path)
        sizes = mirrored(other)
        for name, held in vars(module).items():
            now = sizes.get(name, vars(other).get(name) if (path, (name,)) in edited else None)
            if now is None:
                continue
            for one, value in zip(held if isinstance(held, tuple | list) else [held], _listed(now), strict=False):
                if isinstance(one, Tracked):
                    yield Demand(expression_of(one), int(value), f"`{path}.{name}`")


def _changed(config: Any, values: Mapping[Origin, int]) -> dict[SettingsPath, int]:
    found: dict[SettingsPath, int] = {}
    for (_, path, name), value in ((origin, v) for origin, v in values.items() if len(origin) == 3):
        parts = tuple(part for part in path.split(".") if part)
        holder = config
        for part in parts:
            holder = vars(holder)[part]
        if vars(holder)[name] != value:
            found[*parts, name] = value
    return found


def _difference(cut: nn.Module, rebuilt: nn.Module) -> str | None:
    """Why a model built anew would not be the cut one: a shape, or a number that its code computes from a size."""
    expected = {name: tuple(tensor.shape) for name, tensor in cut.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in rebuilt.state_dict().items()}
    for name, shape in expected.items():
        if found.get(name) != shape:
            return f"`{name}` is {list(shape)}, and built from any config it is {list(found.get(name, ()))}"
    for path, module in rebuilt.named_modules():
        other = vars(cut.get_submodule(path))
        for name, value in vars(module).items():
            if isinstance(value, float) and other.get(name) != value:
                return f"`{path}.{name}` is {other.get(name)}, and built from a config it is {value}"
        for attribute, value in integer_attributes(module):
            if len(attribute) == 1 and _used(cut, path, attribute) and list(_listed(value)) != list(_listed(other.get(attribute[0]))):
                return f"`{path}.{attribute[0]}` is {other.get(attribute[0])}, and built from a config it is {value}"
    return None


def _used(cut: nn.Module, path: str, attribute: tuple[str, ...]) -> bool:
    return attribute[0] in mirrored(cut.get_submodule(path))


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, tuple | list) else [value]
