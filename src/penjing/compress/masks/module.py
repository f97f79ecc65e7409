"""Masks on modules: applied as parametrizations, made final, read, and taken off again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from penjing.compress.masks.masks import Masks
from penjing.errors import PenjingError


class Masked(nn.Module):
    """A parametrization: the weight where the mask is true, and zero elsewhere.

    Where the mask is false the gradient is zero, whatever the weight under it holds.
    """

    mask: Tensor

    def __init__(self, mask: Tensor, place: int) -> None:
        """Takes the mask.

        Args:
            mask: bool, shaped as the weight.
            place: of the parameter among those of its module, for when the mask is made final.
        """
        super().__init__()
        self.register_buffer("mask", mask)
        self.place = place

    def forward(self, weight: Tensor) -> Tensor:
        """Exact zeros, also where the weight is NaN."""
        return torch.where(self.mask, weight, weight.new_zeros(()))


def apply(model: nn.Module, masks: Mapping[str, Tensor], *, kind: type[Masked] = Masked) -> nn.Module:
    """Puts masks on a model, in place: every weight becomes `where(mask, original, 0)`.

    Parameters stay the same objects, so an optimizer that holds them goes on. A weight that several
    modules share stays shared, and is masked in all of them. A mask on a weight that has one takes its
    place. The class of a masked module is one that `torch.nn.utils.parametrize` derives, and its parameter
    is called `parametrizations.weight.original`, until `bake` or `strip`.

    Args:
        model: to be masked.
        masks: parameter name -> bool of its shape.
        kind: of new parametrizations.

    Returns:
        The model.

    Raises:
        PenjingError: PJ814, there is no such parameter, or a mask of another shape; PJ815, a weight cannot be
            masked so: it is computed already, or its module reads it by another way. The model is as it was.
    """
    places = {name: _places(model, name, mask) for name, mask in masks.items()}
    for name, found in places.items():
        for module, own in found:
            why = objection(module, own)
            if why:
                raise PenjingError(
                    "PJ815",
                    f"`{name}` cannot be masked",
                    because=why,
                    tries=[
                        "penjing.compress.masks.zero(model, masks) sets it to zero, and `held` keeps it there"
                    ],
                )
    for name, found in places.items():
        for module, own in found:
            if (old := mask_on(module, own)) is not None:
                old.mask = masks[name].to(old.mask.device).clone()
                continue
            if parametrize.is_parametrized(module):
                _own_class(module, without=())
            order = list(module._parameters)
            mask = masks[name].to(getattr(module, own).device).clone()
            parametrize.register_parametrization(module, own, kind(mask, order.index(own)), unsafe=True)
            module.parametrizations.train(module.training)  # type: ignore[union-attr]
    return model


def objection(module: nn.Module, name: str) -> str:
    """Why a parameter of a module cannot be masked by a parametrization; "" where it can."""
    if parametrize.is_parametrized(module, name):
        return "" if mask_on(module, name) is not None else "it is computed (a parametrization)"
    if isinstance(module, nn.RNNBase):
        return f"`nn.{type(module).__name__}` reads its weights past parametrizations"
    return ""


def bake(model: nn.Module) -> nn.Module:
    """Makes masks final, in place: plain parameters with exact zeros, the same objects as before.

    Nothing keeps the zeros where they are then but `held`.

    Returns:
        The model.
    """
    return _taken_off(model, final=True)


def strip(model: nn.Module) -> nn.Module:
    """Takes masks off, in place: weights hold again what they have under their masks.

    Returns:
        The model.
    """
    return _taken_off(model, final=False)


def zero(model: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    """Sets weights to zero where their mask is false, in place; no parametrization.

    Returns:
        The model.

    Raises:
        PenjingError: PJ814, there is no such parameter, or a mask of another shape.
    """
    with torch.no_grad():
        for name, weight in held_by(model, masks).items():
            weight.masked_fill_(~masks[name].to(weight.device), 0)
    return model


def masks_of(model: nn.Module) -> Masks:
    """The masks of a model: those that are on it; and where zeros are stored, what they say.

    Weights of two or more dimensions count. One without any zero and without a mask has none. A weight
    that is shared is named once, by the first of its names.
    """
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, module, own in parameters(model):
        weight = parameter_of(module, own)
        if id(weight) in seen or weight.ndim < 2 or not weight.is_floating_point():
            continue
        seen.add(id(weight))
        on = mask_on(module, own)
        mask = on.mask.clone() if on is not None else weight.detach() != 0
        if on is not None or not bool(mask.all()):
            found[name] = mask.cpu()
    return Masks(found)


def mask_on(module: nn.Module, name: str) -> Masked | None:
    """The mask that is the only parametrization of a parameter; None where there is none, or more."""
    if not parametrize.is_parametrized(module, name):
        return None
    parts = module.parametrizations[name]  # type: ignore[index]
    return parts[0] if len(parts) == 1 and isinstance(parts[0], Masked) else None


def parameter_of(module: nn.Module, name: str) -> nn.Parameter:
    """The parameter itself: under its mask, if it has one."""
    if mask_on(module, name) is not None:
        under = module.parametrizations[name].original  # type: ignore[index, union-attr]
        assert isinstance(under, nn.Parameter)
        return under
    found = module._parameters[name]
    assert found is not None
    return found


def held_by(model: nn.Module, masks: Mapping[str, Tensor]) -> dict[str, nn.Parameter]:
    """The parameter under every mask.

    Raises:
        PenjingError: PJ814, there is no such parameter, or a mask of another shape.
    """
    return {name: parameter_of(*_places(model, name, mask)[0]) for name, mask in masks.items()}


def named(model: nn.Module) -> dict[str, nn.Parameter]:
    """Every parameter by all of its names, which are those of the model without masks."""
    return {name: parameter_of(module, own) for name, module, own in parameters(model)}


def parameters(model: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """Name, module and own name of every parameter, masked or not; shared ones under all of their names."""
    for path, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, parametrize.ParametrizationList):
            continue
        masked = list(getattr(module, "parametrizations", {})) if parametrize.is_parametrized(module) else []
        names = [own for own, value in module._parameters.items() if value is not None]
        for own in [*names, *(own for own in masked if mask_on(module, own) is not None)]:
            yield f"{path}.{own}" if path else own, module, own


def _places(model: nn.Module, name: str, mask: Tensor) -> list[tuple[nn.Module, str]]:
    """Every module that has the parameter, the one that is named first."""
    every = {full: (module, own) for full, module, own in parameters(model)}
    computed = name not in every and _is_computed(model, name)
    if name not in every and not computed:
        raise PenjingError(
            "PJ814", f"the model has no parameter `{name}`", tries=[f"`{one}`" for one in list(every)[:3]]
        )
    if computed:
        path, _, own = name.rpartition(".")
        return [(model.get_submodule(path), own)]
    module, own = every[name]
    weight = parameter_of(module, own)
    if mask.shape != weight.shape:
        raise PenjingError("PJ814", f"`{name}` is {tuple(weight.shape)}, and its mask {tuple(mask.shape)}")
    found, seen = [(module, own)], {(id(module), own)}
    for other, other_own in every.values():
        if parameter_of(other, other_own) is weight and (id(other), other_own) not in seen:
            seen.add((id(other), other_own))
            found.append((other, other_own))
    return found


def _is_computed(model: nn.Module, name: str) -> bool:
    path, _, own = name.rpartition(".")
    modules = dict(model.named_modules(remove_duplicate=False))
    return path in modules and parametrize.is_parametrized(modules[path], own)


def _taken_off(model: nn.Module, *, final: bool) -> nn.Module:
    for module in list(model.modules()):
        if isinstance(module, parametrize.ParametrizationList) or not parametrize.is_parametrized(module):
            continue
        masked = {own: mask_on(module, own) for own in list(module.parametrizations)}  # type: ignore[arg-type]
        places = {own: on.place for own, on in masked.items() if on is not None}
        for own, on in masked.items():
            if on is None:
                continue
            if final:
                with torch.no_grad():
                    weight = parameter_of(module, own)
                    weight.masked_fill_(~on.mask, 0)
            _unmasked(module, own)
        for own, place in sorted(places.items(), key=lambda one: one[1]):  # parameters in their old order
            names = [name for name in module._parameters if name != own]
            names.insert(place, own)
            module._parameters = {name: module._parameters[name] for name in names}
    return model


def _unmasked(module: nn.Module, name: str) -> None:
    """Makes a masked parameter a plain one again.

    `torch.nn.utils.parametrize.remove_parametrizations` takes the property away from the class of the
    module, and `copy.deepcopy` gives that class to the copy, too: the other one of the two would break.
    """
    weight = parameter_of(module, name)
    _own_class(module, without=(name,))
    del module.parametrizations[name]  # type: ignore[union-attr, operator]
    module.register_parameter(name, weight)
    if not parametrize.is_parametrized(module):
        del module.parametrizations
        module.__class__ = type(module).__bases__[0]


def _own_class(module: nn.Module, *, without: tuple[str, ...]) -> None:
    """Gives a module with parametrizations a class of its own, but for some of the properties."""
    kind = type(module)
    members = {
        key: value for key, value in vars(kind).items() if key not in (*without, "__dict__", "__weakref__")
    }
    module.__class__ = type(kind.__name__, kind.__bases__, members)
