"""What is written down of a cut, and the same cut made again from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, TypeVar

from torch import nn

from penjing.errors import PenjingError
from penjing.network import trace
from penjing.network.solve import tensor_named
from penjing.surgery.correct import Correction, check_written
from penjing.surgery.cut import check_plan
from penjing.surgery.graph import rewrite
from penjing.surgery.module import Edits, apply_edits
from penjing.surgery.places import Place
from penjing.surgery.selection import Selection

T = TypeVar("T")


@dataclass(frozen=True)
class _Recorded:
    """A plan as a record has it."""

    kept: Mapping[str, list[int]]
    dropped: list[str]


def redo(record: Mapping[str, Any], model: nn.Module, example_inputs: Any = None) -> nn.Module:
    """Makes a recorded cut on a fresh module of the same architecture.

    Args:
        record: `Cut.record`, possibly through JSON.
        model: the module at its original size; where the cut was made on the module, it is changed in place.
        example_inputs: those of the cut; needed where the cut was made on the graph, which is traced again.

    Raises:
        PenjingError: PJ206, the record is damaged, or the module is not the one that it was made for; PJ207,
            its code is another where calls are corrected. The module is as it was.
    """
    match record.get("form"):
        case "graph":
            return _redo_graph(_read(_recorded, record), model, example_inputs)
        case "module":
            edits = _read(_edits, record)
        case form:
            raise _damaged(f"there is no form `{form}`")
    _check_fits(edits, model)
    check_written(model, edits.corrections)
    return apply_edits(model, edits)


def _redo_graph(plan: _Recorded, model: nn.Module, example_inputs: Any) -> nn.Module:
    if example_inputs is None:
        raise PenjingError(
            "PJ206",
            "this cut was made on the traced graph, which needs example inputs to be traced again",
            tries=["give the example inputs that the model was cut with"],
        )
    net = trace(model, example_inputs)
    try:
        check_plan(net, plan)
        selection = Selection(net, plan.kept, plan.dropped)
    except PenjingError as error:
        raise _misfit(model, error.what) from error
    return rewrite(net, selection).train(model.training)


def _check_fits(edits: Edits, model: nn.Module) -> None:
    """Refuses a module that the edits were not made for, before any of them is made."""
    paths = [*edits.corrections, *edits.settings, *(path for path, _, _ in edits.attributes)]
    for path in paths:
        try:
            model.get_submodule(path)
        except AttributeError as error:
            raise _misfit(model, f"it has no module `{path}`") from error
    for path in edits.stand_ins:
        try:
            attrgetter(path)(model)
        except AttributeError as error:
            raise _misfit(model, f"it has no `{path}`") from error
    for name, shape in edits.shapes.items():
        try:
            found = list(tensor_named(model, name).shape)
        except AttributeError as error:
            raise _misfit(model, f"it has no `{name}`") from error
        if found != list(shape):
            raise _misfit(model, f"`{name}` is {found}, and was {list(shape)}")
    for path, attribute, _ in edits.attributes:
        if attribute[0] not in vars(model.get_submodule(path)):
            raise _misfit(
                model, f"`{path}` has no `{attribute[0]}`" if path else f"it has no `{attribute[0]}`"
            )


def _misfit(model: nn.Module, because: str) -> PenjingError:
    return PenjingError(
        "PJ206",
        f"the record does not fit `{type(model).__name__}`",
        because=because,
        tries=["let the factory build the architecture that was pruned, at its original size"],
    )


def _read(part: Callable[[Mapping[str, Any]], T], record: Mapping[str, Any]) -> T:
    try:
        return part(record)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(f"{type(error).__name__}: {error}") from error


def _damaged(because: str) -> PenjingError:
    return PenjingError(
        "PJ206", "the record of the cut is damaged", because=because, tries=["take it from the run once more"]
    )


def _recorded(record: Mapping[str, Any]) -> _Recorded:
    return _Recorded(record["kept"], record["dropped"])


def _edits(record: Mapping[str, Any]) -> Edits:
    """Edits as JSON gives them back."""
    tensors = record["tensors"].items()
    return Edits(
        {name: {int(dim): kept for dim, kept in by_dim.items()} for name, by_dim in tensors},
        record["shapes"],
        [(path, attribute, value) for path, attribute, value in record["attributes"]],
        {path: [_correction(one) for one in found] for path, found in record["corrections"].items()},
        {at: [(tuple(path), value) for path, value in changed] for at, changed in record["settings"].items()},
        record["unsettled"],
        record.get("stand_ins", {}),
    )


def _correction(record: Mapping[str, Any]) -> Correction:
    return Correction(
        Place(**record["place"]),
        tuple((tuple(path), value) for path, value in record["numbers"]),
        tuple((name, value) for name, value in record["named"]),
        None if record["pieces"] is None else tuple(record["pieces"]),
    )
