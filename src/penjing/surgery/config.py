"""Finds the settings from which a model's own class builds the cut architecture (`from_pretrained`).

The class is built once on the `meta` device from a config whose integers remember where they came from.
Every size that a layer keeps is then an expression of settings, which the cut model says the value of. The
answer is checked by building the class again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from fractions import Fraction
from typing import Any

import torch
from torch import nn

from penjing.surgery.adapt import Demand, solve
from penjing.surgery.mirrors import mirrored
from penjing.surgery.settings import Settings, SettingsChange, SettingsPath, with_settings
from penjing.surgery.tracked import Origin, Tracked, expression_of
from penjing.surgery.watch import has_integers, integer_attributes, is_settings, remember

_MOST_RATIOS = 6
"""A plan with more different ratios than this has layers of different widths, which no config can say."""


def new_settings(model: nn.Module, cut: nn.Module, seen: Mapping[Origin, int]) -> Settings | str:
    """Settings that differ for the cut model, or why no config can say what it is.

    Args:
        model: the original.
        cut: the cut copy of it.
        seen: sizes that the code was seen to use, by origin, and their values in `cut`.
    """
    remembered = deepcopy(vars(model)["config"])
    asked = _note_missing(remembered)
    for path, holder, name in list(_integers(remembered)):
        holder[name] = remember(holder[name], ("attribute", ".".join(path), name))
    try:
        built = _build(type(model), remembered)
    except Exception as error:  # a class may refuse integers of another kind; then its config is left alone
        return f"`{type(model).__name__}` cannot be built from a config whose sizes are watched ({error})"
    values, _ = solve(list(_demands(built, cut, seen)), {}, settle=True)
    config = vars(model)["config"]
    start = dict(_changed(config, values))
    absent: dict[SettingsPath, Any] = {
        (name,): value for (_, _, name, *rest), value in seen.items() if name in asked and not rest
    }
    for changed in (start, _search(type(model), config, start, absent, cut, seen)):
        rebuilt = _try_build(type(model), with_settings(config, list(changed.items())))
        if rebuilt is not None and not _differences(cut, rebuilt, seen):
            return Settings(list(changed.items()), list(_sizes(cut, rebuilt)))
    rebuilt = _try_build(type(model), with_settings(config, list(start.items())))
    found = _differences(cut, rebuilt, seen) if rebuilt is not None else ["no sizes of its config fit"]
    return found[0]


def _note_missing(config: Any) -> set[str]:
    """Makes `config` note the settings that it is asked for and does not have: they may be given too."""
    missing: set[str] = set()
    kind = type(config)
    lookup: Any = kind.__getattribute__

    def looked_up(self: Any, name: str) -> Any:
        try:
            value = lookup(self, name)
        except AttributeError:
            missing.add(name)
            raise
        if value is None:  # as good as missing: the class takes a size of its own making
            missing.add(name)
        return value

    watching = type(kind.__name__, (kind,), {"__getattribute__": looked_up, "__module__": kind.__module__})
    config.__class__ = watching
    return missing


def _search(
    kind: type[nn.Module],
    config: Any,
    start: dict[SettingsPath, Any],
    absent: dict[SettingsPath, Any],
    cut: nn.Module,
    seen: Mapping[Origin, int],
) -> dict[SettingsPath, Any]:
    """Settings nearer to the cut model where arithmetic on reals hid what a size is made of.

    One after another is tried while it helps: in the ratios in which shapes changed, and settings that the
    config may have but does not (`absent`).
    """
    original = _try_build(kind, config)
    if original is None:
        return start
    before = {name: tensor.shape for name, tensor in original.state_dict().items()}
    ratios = {
        Fraction(new, old)
        for name, tensor in cut.state_dict().items()
        if name in before and len(before[name]) == tensor.dim()
        for new, old in zip(tensor.shape, before[name], strict=True)
        if new != old and old
    }

    if len(ratios) > _MOST_RATIOS:
        return start

    def badness(changed: dict[SettingsPath, Any]) -> int:
        rebuilt = _try_build(kind, with_settings(config, list(changed.items())))
        return 1 << 30 if rebuilt is None else len(_differences(cut, rebuilt, seen))

    best, score = start, badness(start)
    for path, value in absent.items():
        found = badness({**best, path: value})
        if found <= score:
            best, score = {**best, path: value}, found
    improved = True
    while score and improved:
        improved = False
        for path, holder, name in list(_integers(config)):
            for value in _scaled(holder[name], ratios):
                candidate = {**best, (*path, name): value}
                found = badness(candidate)
                if found < score:
                    best, score, improved = candidate, found, True
    return best


def _scaled(value: Any, ratios: set[Fraction]) -> Iterator[Any]:
    """`value`, or every entry of a list, in each ratio that leaves whole numbers; and the value as it was."""
    yield value
    for ratio in sorted(ratios):
        many = [entry * ratio if type(entry) is int else entry for entry in _listed(value)]
        if all(
            Fraction(entry).denominator == 1 and entry >= 1 for entry in many if isinstance(entry, Fraction)
        ):
            whole = [int(entry) if isinstance(entry, Fraction) else entry for entry in many]
            yield whole if isinstance(value, list | tuple) else whole[0]


def _try_build(kind: type[nn.Module], config: Any) -> nn.Module | None:
    try:
        return _build(kind, config)
    except Exception:  # a class may refuse settings in any way; they are then no candidate
        return None


def _build(kind: type[nn.Module], config: Any) -> nn.Module:
    with torch.device("meta"):
        built: nn.Module = kind(config)
    return built


def _integers(settings: Any, path: SettingsPath = ()) -> Iterator[tuple[SettingsPath, dict[str, Any], str]]:
    """(path, dict, key) of every integer, or list with integers, in a config and the configs inside it."""
    for name, value in vars(settings).items():
        if has_integers(value) and not name.startswith("_"):
            yield path, vars(settings), name
        elif is_settings(value):
            yield from _integers(value, (*path, name))


def _demands(built: nn.Module, cut: nn.Module, seen: Mapping[Origin, int]) -> Iterator[Demand]:
    for path, module in built.named_modules():
        sizes = mirrored(cut.get_submodule(path))
        for name, held in vars(module).items():
            now = sizes.get(name, seen.get(("attribute", path, name)))
            if now is None:
                continue
            for one, value in zip(_listed(held), _listed(now), strict=False):
                if isinstance(one, Tracked):
                    yield Demand(expression_of(one), int(value), f"`{path}.{name}`")


def _sizes(cut: nn.Module, rebuilt: nn.Module) -> Iterator[tuple[str, list[str], Any]]:
    """Sizes that a model built anew would have otherwise: read by no operator, but they should be true."""
    for path, module in rebuilt.named_modules():
        now = vars(cut.get_submodule(path))
        for attribute, value in integer_attributes(module):
            if len(attribute) == 1 and _listed(now.get(attribute[0])) != _listed(value):
                yield path, list(attribute), value


def _changed(config: Any, values: Mapping[Origin, int]) -> SettingsChange:
    """The settings to change, lists whole."""
    found: dict[SettingsPath, Any] = {}
    for (_, path, name, *place), value in values.items():
        parts = tuple(part for part in path.split(".") if part)
        holder = config
        for part in parts:
            holder = vars(holder)[part]
        now = vars(holder)[name]
        if not place:
            found[*parts, name] = value
        else:
            entries = list(found.get((*parts, name), now))
            entries[int(place[0].strip("[]"))] = value
            found[*parts, name] = entries
    return [(path, value) for path, value in found.items() if _listed(value) != _listed(_at(config, path))]


def _at(config: Any, path: SettingsPath) -> Any:
    for part in path:
        config = vars(config)[part]
    return config


def _differences(cut: nn.Module, rebuilt: nn.Module, seen: Mapping[Origin, int]) -> list[str]:
    """Why a model built anew would not be the cut one: shapes, sizes its code uses, numbers made of sizes."""
    modules = [dict(model.named_modules()) for model in (cut, rebuilt)]
    other_layers = modules[0].keys() ^ modules[1].keys()
    if other_layers:
        return [f"`{path}` is there in one of the two only" for path in sorted(other_layers)] * len(
            modules[0]
        )
    expected = {name: tuple(tensor.shape) for name, tensor in cut.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in rebuilt.state_dict().items()}
    wrong = [
        f"`{name}` is {list(shape)}, and built from the config it is {list(found.get(name, ()))}"
        for name, shape in expected.items()
        if found.get(name) != shape
    ]
    for path, module in rebuilt.named_modules():
        other = vars(cut.get_submodule(path))
        for name, value in vars(module).items():
            if isinstance(value, float) and other.get(name) != value:
                wrong.append(f"`{path}.{name}` is {other.get(name)}, and built from the config it is {value}")
    for (_, path, *attribute), value in seen.items():
        held = vars(rebuilt.get_submodule(path)).get(attribute[0])
        if len(attribute) == 2 and attribute[1].startswith("[") and isinstance(held, list | tuple):
            held = held[int(attribute[1].strip("[]"))]
        elif len(attribute) == 2:
            held = vars(held).get(attribute[1]) if is_settings(held) else None
        if held != value:
            wrong.append(f"`{path}.{attribute[0]}` is {value}, and built from the config it is {held}")
    return wrong


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, tuple | list) else [value]
