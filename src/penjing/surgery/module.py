"""Cutting a copy of the user's own module in place: tensors first, then the sizes that its code remembers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from penjing.errors import PenjingError
from penjing.network import Network
from penjing.network.copied import copied
from penjing.network.operator import module_of
from penjing.network.solve import tensor_named
from penjing.network.untouched import forget
from penjing.surgery.adapt import Demand, demands, known_shapes, solve
from penjing.surgery.config import new_settings
from penjing.surgery.copies import recompute
from penjing.surgery.correct import Correction, install
from penjing.surgery.enforce import find_corrections
from penjing.surgery.mirrors import mirrored, told_by_input
from penjing.surgery.selection import Selection, take
from penjing.surgery.settings import SettingsChange, give_settings, rebuilds_from_config
from penjing.surgery.stand_in import Form, install_stand_ins, stand_ins
from penjing.surgery.tracked import Origin, origins
from penjing.surgery.unequal import kept_apart
from penjing.surgery.watch import Watch, is_settings


@dataclass
class Edits:
    """Everything that turns a fresh module into the cut one; survives JSON.

    Attributes:
        tensors: dotted name -> dimension -> kept indices.
        shapes: dotted name -> shape before, of the same tensors.
        attributes: (module path, attribute path, new value).
        corrections: module path -> calls that its code makes with sizes no attribute decides.
        settings: path of a module that is built from a config -> (path of a setting, new value).
        unsettled: path of such a module -> why no config can say what it is now.
        stand_ins: path of a module that only a dropped branch called -> what is returned in its place.
    """

    tensors: dict[str, dict[int, list[int]]] = field(default_factory=dict)
    shapes: dict[str, list[int]] = field(default_factory=dict)
    attributes: list[tuple[str, list[str], Any]] = field(default_factory=list)
    corrections: dict[str, list[Correction]] = field(default_factory=dict)
    settings: dict[str, SettingsChange] = field(default_factory=dict)
    unsettled: dict[str, str] = field(default_factory=dict)
    stand_ins: dict[str, Form] = field(default_factory=dict)


def plan_edits(
    net: Network, selection: Selection, watch: Watch, *, settle_disputes: bool = True, lean: bool = True
) -> tuple[Edits, list[Demand]]:
    """What must change in the user's module, and the demands of its code that no change can meet.

    Args:
        net: the network.
        selection: what stays.
        watch: one run of the user's code.
        settle_disputes: whether an attribute of which different calls ask different values gets one of them
            (all other calls are corrected); else it keeps its old one.
        lean: whether stand-ins of dropped modules give zeros of one element.

    Raises:
        Exception: whatever the user's code raises where not even correcting its calls is enough.
    """
    edits = Edits(stand_ins=stand_ins(net, selection, lean=lean) if selection.passed else {})
    for name, dims in net.tensors.items():
        kept = selection.kept_of(dims)
        if kept:
            edits.tensors[name] = kept
            edits.shapes[name] = list(tensor_named(net.model, name).shape)
    values, failed = solve(demands(net, watch, selection), known_shapes(net, watch, selection))
    if not settle_disputes:
        disputed = {leaf.origin for demand in failed for leaf in origins(demand.expression)}
        values = {origin: value for origin, value in values.items() if origin not in disputed}
    values = kept_apart(values, watch)
    edits.attributes = _attributes(net, values) + _channels(net, selection)
    edits.corrections = find_corrections(net, selection, watch, cut_copy(net.model, edits))
    for path in _rebuilt_from_config(net.model):
        settled = _settled(net, edits, values, path)
        if isinstance(settled, Edits):
            settled = _other_numbers(net, selection, watch, settled) or settled
        if isinstance(settled, Edits):
            edits = settled
        else:
            edits.unsettled[path] = settled
    return edits, failed


def _channels(net: Network, selection: Selection) -> list[tuple[str, list[str], Any]]:
    """New numbers of channels of layers that have no tensor to tell them."""
    found: dict[str, tuple[str, list[str], Any]] = {}
    for node, op in net.solution.ops.items():
        path = module_of(node)
        attribute = told_by_input(net.model.get_submodule(path)) if path not in found else None
        dims = op.maybe("input")
        if attribute is not None and dims is not None and len(dims) > 1 and selection.touches(dims[1]):
            found[path] = (path, [attribute], selection.size(dims[1]))
    return list(found.values())


def _rebuilt_from_config(model: nn.Module) -> list[str]:
    """Paths of the outermost modules that are built from a config and load themselves."""
    found: list[str] = []
    for path, module in model.named_modules():
        if rebuilds_from_config(module) and not any(
            not outer or path.startswith(f"{outer}.") for outer in found
        ):
            found.append(path)
    return found


def _settled(net: Network, edits: Edits, seen: Mapping[Origin, int], path: str) -> Edits | str:
    """The edits with settings from which the model's class builds what it is now, or why there are none."""
    if any(_inside(gone, path) is not None for gone in edits.stand_ins):
        return "whole branches are left out, which a config cannot say"
    if any(_inside(corrected, path) is not None for corrected in edits.corrections):
        return "calls of its code are corrected, which a config cannot say"
    original, small = net.model.get_submodule(path), cut_copy(net.model, edits).get_submodule(path)
    inner = {
        (kind, within, *rest): v
        for (kind, at, *rest), v in seen.items()
        if (within := _inside(at, path)) is not None
    }
    found = new_settings(original, small, inner)
    if isinstance(found, str):
        return found
    prefix = f"{path}." if path else ""
    sizes = [((prefix + at).rstrip("."), attribute, value) for at, attribute, value in found.sizes]
    settings = {**edits.settings, path: found.changed}
    return replace(edits, settings=settings, attributes=edits.attributes + sizes)


def _other_numbers(net: Network, selection: Selection, watch: Watch, edits: Edits) -> str | None:
    """Why settings that build all the right shapes do not build the same function, if so (a scale, say)."""
    try:
        wrong = find_corrections(net, selection, watch, cut_copy(net.model, edits))
    except Exception as error:  # the user's code may raise anything on settings it does not expect
        return f"its code does not run with the config ({type(error).__name__}: {error})"
    first = next((found[0] for found in wrong.values()), None)
    return None if first is None else f"with the config, `{first.place.text}` is given another number"


def _inside(path: str, outer: str) -> str | None:
    """`path` as seen from the module at `outer`, or None if it is elsewhere."""
    if not outer or path == outer:
        return path if not outer else ""
    return path.removeprefix(f"{outer}.") if path.startswith(f"{outer}.") else None


def apply_edits(model: nn.Module, edits: Edits) -> nn.Module:
    """Makes the edits in place. Shared tensors stay shared."""
    forget(model)
    made: dict[int, torch.Tensor] = {}
    fresh: list[tuple[nn.Module, str, torch.Tensor]] = []
    shared: dict[int, list[str]] = defaultdict(list)
    for name, tensor in [
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ]:
        shared[id(tensor)].append(name)
    for name, kept in edits.tensors.items():
        whole = tensor_named(model, name)
        if id(whole) not in made:
            cut = take(whole.detach(), kept).clone(memory_format=torch.contiguous_format)
            made[id(whole)] = (
                nn.Parameter(cut, whole.requires_grad) if isinstance(whole, nn.Parameter) else cut
            )
        for alias in {name, *shared.get(id(whole), ())}:
            path, _, leaf = alias.rpartition(".")
            fresh.append((model.get_submodule(path), leaf, made[id(whole)]))
    for module, leaf, tensor in fresh:
        setattr(module, leaf, tensor)
    for module in model.modules():
        recompute(module)
    for path, changed in edits.settings.items():
        give_settings(model.get_submodule(path), changed)
    for path, attribute, value in edits.attributes:
        _set(model.get_submodule(path), attribute, value)
    for module in model.modules():
        for name, size in mirrored(module).items():
            setattr(module, name, size)
    install_stand_ins(model, edits.stand_ins)
    for path in edits.unsettled:
        if any(_inside(gone, path) is not None for gone in edits.stand_ins):
            vars(model.get_submodule(path))["save_pretrained"] = _not_pretrained
    return install(model, edits.corrections)


def _not_pretrained(*_: Any, **__: Any) -> None:
    """Stands for `save_pretrained`: `from_pretrained` would fill what is missing with random numbers.

    Raises:
        PenjingError: PJ210, always.
    """
    raise PenjingError(
        "PJ210",
        "`save_pretrained` cannot write a model without some of its branches",
        because="its config cannot say so, and `from_pretrained` would make them anew, untrained",
        tries=["result.save(DIRECTORY), and pj.load", "depth=False"],
    )


def cut_copy(model: nn.Module, edits: Edits) -> nn.Module:
    """A deep copy of `model` with the edits made."""
    return apply_edits(copied(model), edits)


def _attributes(net: Network, values: Mapping[Origin, int]) -> list[tuple[str, list[str], Any]]:
    """New attribute values; entries of a tuple or list are put together."""
    found: list[tuple[str, list[str], Any]] = []
    entries: dict[tuple[str, ...], dict[int, int]] = defaultdict(dict)
    for origin, value in values.items():
        _, path, *attribute = origin
        if attribute[-1].startswith("["):
            entries[path, *attribute[:-1]][int(attribute[-1].strip("[]"))] = value
        elif _read(net.model.get_submodule(path), attribute) != value:
            found.append((path, list(attribute), value))
    for (path, *attribute), changes in entries.items():
        now = _read(net.model.get_submodule(path), attribute)
        new = [changes.get(place, entry) for place, entry in enumerate(now)]
        if list(now) != new:
            found.append((path, list(attribute), new))
    return found


def _read(module: nn.Module, attribute: Sequence[str]) -> Any:
    value: Any = vars(module)[attribute[0]]
    return vars(value)[attribute[1]] if len(attribute) > 1 else value


def _set(module: nn.Module, attribute: Sequence[str], value: Any) -> None:
    holder = vars(module)
    if _read(module, attribute) == value:
        return
    if len(attribute) > 1:
        if not is_settings(holder[attribute[0]]):
            raise AttributeError(f"{attribute[0]} holds no settings")
        holder[attribute[0]] = copy(holder[attribute[0]])
        holder = vars(holder[attribute[0]])
    old = holder[attribute[-1]]
    holder[attribute[-1]] = type(old)(value) if isinstance(old, tuple | list) else value
