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
from types import CodeType
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from penjing.errors import PenjingError
from penjing.surgery.attention import multi_head_attention
from penjing.surgery.literals import Path, replaced
from penjing.surgery.places import Place, caller, is_written, within


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
    """Corrects calls while one module's forward runs; not those of modules inside, which have their own."""

    def __init__(self, owner: CorrectedForward) -> None:
        super().__init__()
        self._owner = owner
        self._by_place = {correction.place: correction for correction in owner.corrections}
        self._functions = {place.function for place in self._by_place}
        self._seen: Counter[Place] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        correction = self._correction(getattr(func, "__name__", ""))
        return correction.call(func, args, kwargs or {}) if correction else func(*args, **(kwargs or {}))

    def _correction(self, name: str) -> Correction | None:
        if name not in self._functions:
            return None
        place, frame = caller(name)
        if not within(frame, CorrectedForward.__call__.__code__, self._owner):
            return None
        self._seen[place] += 1
        return self._by_place.get(replace(place, occurrence=self._seen[place] - 1))


class CorrectedForward:
    """A module's own `forward`, run with corrections; set on the instance, so its class stays as it is."""

    def __init__(self, module: nn.Module, corrections: Sequence[Correction]) -> None:
        """Stands in front of the forward of `module`: its class's, or what was set on the instance before."""
        self.module, self.corrections = module, tuple(corrections)
        self._before = vars(module).get("forward")

    @property
    def __wrapped__(self) -> Any:
        """The forward that it stands in front of."""
        return self._before or type(self.module).forward.__get__(self.module)

    @property
    def __code__(self) -> CodeType:
        """Its code: the exporter asks a model's forward where it stands."""
        found: CodeType = self.__wrapped__.__code__
        return found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs that forward."""
        with _Corrector(self):
            return self.__wrapped__(*args, **kwargs)


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
        found = corrections.get(path, [])
        if found or not isinstance(vars(module).get("forward"), CorrectedForward):
            vars(module)["forward"] = CorrectedForward(module, found)
    return model


def check_written(model: nn.Module, corrections: dict[str, list[Correction]]) -> None:
    """Refuses a model whose code no longer has a call that is to be corrected.

    Raises:
        PenjingError: PJ207.
    """
    for path, found in corrections.items():
        module = model.get_submodule(path)
        for place in (correction.place for correction in found):
            if not is_written(place, module):
                kind = f"`{type(module).__name__}`" + (f" at `{path}`" if path else "")
                raise PenjingError(
                    "PJ207",
                    f"{kind} no longer makes a call that was corrected when it was cut",
                    because=f"`{place.code}` has no `{place.text}`",
                    tries=["load the model with the version of its code that it was cut with"],
                )


def _encloses(path: str, inner: str, module: nn.Module) -> bool:
    fused = type(module).__module__.startswith("torch.nn.modules")
    return fused and inner != path and (not path or inner.startswith(f"{path}."))


def _dim_of_split(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    dim = kwargs.get("dim", args[2] if len(args) > 2 else 0)
    return int(dim)
