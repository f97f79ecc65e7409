"""`pj.sparsify`: zeros in the weights of a model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from torch import Tensor, nn

from penjing.api.ranking import compensated, ranked, ranker_named
from penjing.api.targets import checked_choice, checked_kind
from penjing.compress.copy import copy_of
from penjing.compress.masks import (
    ERK,
    NM,
    Masks,
    MasksRecord,
    Pattern,
    Rule,
    SparseGPT,
    Sparsity,
    Unsuited,
    Wanda,
    Weight,
    WeightRecord,
    apply,
    masks_of,
    named,
    objection,
    pattern_named,
    weights,
    zero,
)
from penjing.compress.masks import bake as make_final
from penjing.criteria import WeightCriterion
from penjing.errors import PenjingError
from penjing.network.refused import refused_source
from penjing.network.solve import tensor_named
from penjing.recover import Loss

_DEFAULT = 0.9


@dataclass(frozen=True, eq=False)
class Sparsified:
    """A model with zeros, and what was done to it.

    Attributes:
        model: a copy of the user's, of the same class but for masks.
        masks: which weights stay, by name.
        record: per layer, and in all.
    """

    model: nn.Module
    masks: Masks
    record: MasksRecord


def sparsify(
    model: nn.Module,
    example_inputs: Any = None,
    *,
    sparsity: float | None = None,
    pattern: Pattern | str = "unstructured",
    criterion: WeightCriterion | SparseGPT | str = "magnitude",
    scope: str | None = None,
    rule: Rule | None = None,
    data: Iterable[Any] | None = None,
    loss: Loss | None = None,
    keep: Sequence[str] | None = None,
    only: Sequence[str] | None = None,
    bake: bool = False,
    unsuited: Unsuited = "skip",
) -> Sparsified:
    """Sets the weights that are worth least to zero, in a copy of the model.

    What is zero already, or masked out, goes first. Zeros alone make no model smaller or quicker:
    `pj.to_sparse` measures where they do, `pj.prune` takes whole units out.

    Args:
        model: to be copied.
        example_inputs: as the model is called; needed where the criterion needs data.
        sparsity: share of the weights that become zero; None for 0.9, or what the pattern says.
        pattern: which weights go together: "unstructured", "2:4" (or other numbers), "4x4" (or other
            sizes), "rows", "columns", "kernels", or a `Pattern`.
        criterion: "wanda", "random", a name of `penjing criteria` that scores weights, or one of your own; or
            "sparsegpt", where weights that stay make up for those that go.
        scope: what competes: "global" (the default), "layer", "row" (the default of "wanda"), or "erk", where
            layers are as dense as their shapes say.
        rule: instead of `sparsity` and `scope`.
        data: calibration batches, `inputs` or `(inputs, targets)`, where the criterion needs them.
        loss: (outputs, batch) -> scalar, likewise.
        keep: patterns of names of parameters or modules to leave whole.
        only: of those to take; None for all that hold matrices or kernels.
        bake: whether zeros are plain zeros. Otherwise masks are parametrizations, under which training keeps
            them.
        unsuited: "skip" leaves weights whole that the pattern does not suit, with a note; "refuse" does not.

    Raises:
        PenjingError: PJ810 to PJ818, the wishes do not fit the weights; PJ104, weights are not finite; PJ105,
            it is no module; PJ106 or PJ306, an argument is of another kind; PJ301 to PJ322, the criterion
            lacks something; PJ804, it cannot be copied.
    """
    if not isinstance(model, nn.Module):
        raise refused_source(model)
    for name, given in (("keep", keep), ("only", only)):
        checked_kind(name, given, list, tuple, type(None), tries=[f'{name}=["head"]'])
    checked_kind("sparsity", sparsity, int, float, type(None), tries=["sparsity=0.9"])
    checked_choice("unsuited", unsuited, get_args(Unsuited))
    wanted, scorer = pattern_named(pattern), ranker_named(criterion)
    asked = _rule(wanted, sparsity, scope, rule, scorer)
    made = copy_of(model)
    before = masks_of(made)
    make_final(made)  # statistics are collected by the names of plain parameters
    found, left = weights(made, keep=keep or (), only=only)
    _check(found)
    if isinstance(scorer, SparseGPT):
        chosen = compensated(made, example_inputs, scorer, found, wanted, asked, data, unsuited)
    else:
        chosen = ranked(made, example_inputs, scorer, found, wanted, asked, data, loss, before, unsuited)
    notes = {**left, **chosen.notes, **_put_on(made, chosen.masks, found, bake=bake)}
    words = asked.words if asked is not None else wanted.name
    name = scorer.name if isinstance(scorer, SparseGPT) else scorer.record.name
    return Sparsified(made, chosen.masks, _record(made, chosen.masks, notes, wanted.name, words, name))


def _rule(
    pattern: Pattern,
    sparsity: float | None,
    scope: str | None,
    rule: Rule | None,
    criterion: WeightCriterion | SparseGPT,
) -> Rule | None:
    """How many go; None where the pattern says so."""
    fixed = isinstance(pattern, NM)
    if isinstance(pattern, NM) and sparsity is not None and abs(sparsity - pattern.sparsity) > 1e-9:
        raise PenjingError(
            "PJ811",
            f"the pattern {pattern.name} takes {pattern.sparsity:.1%}, not {sparsity:.1%}",
            tries=["leave `sparsity` out", "other numbers, such as 1:4 for 75 %"],
        )
    if (fixed and (rule or scope)) or (rule is not None and (sparsity is not None or scope is not None)):
        raise PenjingError(
            "PJ811",
            "it is said twice how many weights go",
            because=f"the pattern {pattern.name} says so"
            if fixed
            else f"{rule.words} says so"
            if rule
            else "",
            tries=["leave `rule` and `scope` out" if fixed else "leave `sparsity` and `scope` out"],
        )
    if isinstance(criterion, SparseGPT) and (rule is not None or scope not in (None, "layer", "erk")):
        raise PenjingError(
            "PJ811",
            f"`{criterion.name}` goes layer by layer: layers cannot compete",
            tries=['scope="layer"', 'scope="erk"'],
        )
    if fixed or rule is not None:
        return rule
    share = _DEFAULT if sparsity is None else sparsity
    own = "row" if isinstance(criterion, Wanda) else "layer" if isinstance(criterion, SparseGPT) else "global"
    scope = scope or own
    if scope == "erk":
        return ERK(share)
    if scope not in ("global", "layer", "row"):
        names = ("global", "layer", "row", "erk")
        raise PenjingError(
            "PJ811", f"there is no scope `{scope}`", tries=[f'scope="{name}"' for name in names]
        )
    return Sparsity(share, scope)  # type: ignore[arg-type]


def _check(found: Mapping[str, Weight]) -> None:
    """Makes sure that weights can be ranked."""
    if not found:
        raise PenjingError(
            "PJ816", "there is no weight to be sparsified", tries=["other patterns in `keep` and `only`"]
        )
    for name, one in found.items():
        weight = one.tensor.detach()
        if not bool(weight.isfinite().all()):
            raise PenjingError(
                "PJ104",
                f"`{name}` holds {int((~weight.isfinite()).sum())} values that are NaN or infinite",
                tries=["a checkpoint from before the training diverged"],
            )
        if not bool(weight.any()):
            raise PenjingError(
                "PJ813",
                f"all {weight.numel()} weights of `{name}` are zero",
                because="none is worth more than another",
                tries=[f'leave it as it is: keep=["{name}"]', "load trained weights"],
            )


def _put_on(
    model: nn.Module, masks: Mapping[str, Tensor], found: Mapping[str, Weight], *, bake: bool
) -> dict[str, str]:
    """Masks the model in place; says of weights that can only be zeroed why."""
    if bake:
        zero(model, masks)
        return {}
    objections = {name: objection(found[name].module, found[name].own) for name in masks}
    apply(model, {name: mask for name, mask in masks.items() if not objections[name]})
    zero(model, {name: mask for name, mask in masks.items() if objections[name]})
    return {name: f"zeros, but no mask: {why}; train with `held`" for name, why in objections.items() if why}


def _record(
    model: nn.Module, masks: Masks, notes: Mapping[str, str], pattern: str, rule: str, criterion: str
) -> MasksRecord:
    counts = masks.counts
    layers = []
    for name, weight in named(model).items():
        if name in masks or name in notes:
            kept = counts[name].kept if name in counts else weight.numel()
            shape, note = tuple(weight.shape), notes.get(name, "")
            layers.append(WeightRecord(name=name, shape=shape, weights=weight.numel(), kept=kept, note=note))
    for name in notes.keys() - named(model).keys():  # computed from other parameters
        shape = tuple(tensor_named(model, name).shape)
        whole = math.prod(shape)
        layers.append(WeightRecord(name=name, shape=shape, weights=whole, kept=whole, note=notes[name]))
    return MasksRecord(
        pattern=pattern,
        rule=rule,
        criterion=criterion,
        layers=tuple(layers),
        parameters=sum(one.numel() for one in model.parameters()),
    )
