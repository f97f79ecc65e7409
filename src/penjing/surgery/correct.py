"""Calls that the user's code makes with sizes no attribute decides: corrected in place, call by call.

One `head_dim` for keys that keep their width and values that lose half of it, a literal in a `view`, a scale
computed from a width: no new value of an attribute can make such code follow a cut. The module keeps its
class, its code and its names; while its `forward` runs, the calls named in its corrections are given other
numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from penjing.errors import PenjingError
from penjing.surgery.attention import multi_head_attention
from penjing.surgery.literals import Path, Place, caller, replaced


@dataclass(frozen=True)
class Correction:
    """What one call is given instead; survives JSON.

    Attributes:
        place: which call.
        numbers: (where among (args, kwargs), new value).
        named: named arguments added.
        pieces: for `chunk` and `split`: the lengths to cut into instead.
    """

    place: Place
    numbers: tuple[tuple[Path, Any], ...] = ()
    named: tuple[tuple[str, Any], ...] = ()
    pieces: tuple[int, ...] | None = None

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Calls `func` as corrected."""
        args, kwargs = replaced((args, kwargs), dict(self.numbers)) if self.numbers else (args, kwargs)
        kwargs = {**kwargs, **dict(self.named)}
        if self.pieces is not None:
            return torch.split(args[0], list(self.pieces), _dim_of_split(args, kwargs))
        if func is F.multi_head_attention_forward and "scale" in kwargs:
            return multi_head_attention(*args, **kwargs)
        return func(*args, **kwargs)


class _Corrector(TorchFunctionMode):
    """Corrects calls while one module's forward runs."""

    def __init__(self, corrections: Sequence[Correction]) -> None:
        super().__init__()
        self._by_place = {correction.place: correction for correction in corrections}
        self._lines = {replace(place, occurrence=0, text="") for place in self._by_place}
        self._functions = {place.function for place in self._by_place}
        self._seen: Counter[Place] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name not in self._functions:
            return func(*args, **(kwargs or {}))
        place = caller(name)
        occurrence = self._seen[place]
        self._seen[place] += 1
        correction = self._by_place.get(replace(place, occurrence=occurrence))
        if correction is not None:
            return correction.call(func, args, kwargs or {})
        if replace(place, text="") in self._lines and not any(
            _same_line(place, known) for known in self._by_place
        ):
            raise PenjingError(
                "PJ207",
                f"`{name}` in `{place.code}` is not the call that was corrected when the model was cut",
                because=f"the line now reads `{place.text}`",
                tries=["load the model with the version of its code that it was cut with"],
            )
        return func(*args, **(kwargs or {}))


class CorrectedForward:
    """A module's own `forward`, run with corrections; set on the instance, so its class stays as it is."""

    def __init__(self, module: nn.Module, corrections: Sequence[Correction]) -> None:
        """Binds the class's forward to `module`."""
        self.module, self.corrections = module, tuple(corrections)
        self.__wrapped__ = type(module).forward.__get__(module)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the forward of the class."""
        with _Corrector(self.corrections):
            return type(self.module).forward(self.module, *args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> CorrectedForward:
        """Bound to the copy of the module."""
        from copy import deepcopy

        return CorrectedForward(deepcopy(self.module, memo), self.corrections)


def install(model: nn.Module, corrections: dict[str, list[Correction]]) -> nn.Module:
    """Sets corrected forwards on the modules at the given paths, in place.

    Modules around a corrected attention are set too, without corrections: what calls torch functions under a
    mode takes no fused path, and the fused path knows one width only.
    """
    around = {
        path
        for inner in corrections
        for path, module in model.named_modules()
        if _encloses(path, inner, module)
    }
    for path in sorted({*corrections, *around}):
        module = model.get_submodule(path)
        vars(module)["forward"] = CorrectedForward(module, corrections.get(path, []))
    return model


def _encloses(path: str, inner: str, module: nn.Module) -> bool:
    fused = type(module).__module__.startswith("torch.nn.modules")
    return fused and inner != path and (not path or inner.startswith(f"{path}."))


def _dim_of_split(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    dim = kwargs.get("dim", args[2] if len(args) > 2 else 0)
    return int(dim)


def _same_line(place: Place, known: Place) -> bool:
    return replace(place, occurrence=0) == replace(known, occurrence=0)
