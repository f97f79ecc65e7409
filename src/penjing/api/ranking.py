"""Which single weights go: by what they are worth, or by what the others can make up for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from penjing import criteria
from penjing.compress.masks import (
    Chosen,
    Masks,
    Pattern,
    RandomWeights,
    Rule,
    SparseGPT,
    Unsuited,
    Wanda,
    Weight,
    choose,
    compensate,
    goals,
    readable,
)
from penjing.criteria import Criterion, Statistics, WeightCriterion
from penjing.errors import PenjingError
from penjing.network import trace
from penjing.recover import Loss


def ranker_named(given: WeightCriterion | SparseGPT | str) -> WeightCriterion | SparseGPT:
    """What ranks weights, by its name; what is no name is handed back.

    Raises:
        PenjingError: PJ301, there is none of that name; PJ818, it ranks whole units.
    """
    own: Mapping[str, type[WeightCriterion]] = {"wanda": Wanda, "random": RandomWeights}
    if given == SparseGPT.name or isinstance(given, SparseGPT):
        return given if isinstance(given, SparseGPT) else SparseGPT()
    found: Criterion
    found = own[given]() if isinstance(given, str) and given in own else criteria.get(given)
    if not isinstance(found, WeightCriterion):
        raise PenjingError(
            "PJ818",
            f"`{found.record.name}` cannot rank single weights",
            because="it says what whole units are worth",
            tries=[f'criterion="{name}"' for name in ("magnitude", "taylor", "wanda", "sparsegpt", "random")],
        )
    return found


def ranked(
    model: nn.Module,
    example_inputs: Any,
    criterion: WeightCriterion,
    found: Mapping[str, Weight],
    pattern: Pattern,
    rule: Rule | None,
    data: Iterable[Any] | None,
    loss: Loss | None,
    before: Masks,
    unsuited: Unsuited,
) -> Chosen:
    """By the worth of single weights."""
    statistics = _statistics(model, example_inputs, criterion, data, loss)
    read = list(found) if statistics.grams is None else [n for n in found if n in statistics.grams.names]
    unread = _unread(found, read, criterion.record.name)
    worth = {name: criterion.worth(name, found[name].tensor.detach(), statistics) for name in read}
    chosen = choose(
        worth, pattern, rule, finish=criterion.finish, before=before, unsuited=unsuited,
        outs={name: found[name].out for name in read},
    )  # fmt: skip
    return Chosen(chosen.masks, {**unread, **chosen.notes})


def compensated(
    model: nn.Module,
    example_inputs: Any,
    options: SparseGPT,
    found: Mapping[str, Weight],
    pattern: Pattern,
    rule: Rule | None,
    data: Iterable[Any] | None,
    unsuited: Unsuited,
) -> Chosen:
    """Layer after layer, where the weights that stay change, too."""
    if example_inputs is None or data is None:
        raise PenjingError(
            "PJ302",
            f"`{options.name}` needs {'data' if data is None else 'the example inputs'}",
            because="weights make up for others by what layers read",
            tries=["sparsify(model, example_inputs, data=[batch, ...], ...)"],
        )
    zeros = [name for name, one in found.items() if not bool((one.tensor != 0).all())]
    if zeros:
        raise PenjingError(
            "PJ818",
            f"`{options.name}` cannot begin with `{zeros[0]}`, which holds zeros",
            because="it would give them values again",
            tries=["the dense model", 'criterion="wanda"', f'keep=["{zeros[0]}"]'],
        )
    net = trace(model, example_inputs)
    grams, order = readable(net, found, list(data) if isinstance(data, Iterator) else data)
    unread = _unread(found, order, options.name)
    wanted, notes = goals({name: found[name].tensor.shape for name in order}, net, pattern, rule)
    if notes and (unsuited == "refuse" or not wanted):
        name = next(iter(notes))
        raise PenjingError("PJ810", f"the pattern {pattern.name} does not suit `{name}`", because=notes[name])
    return Chosen(compensate(net, grams, wanted, damping=options.damping), {**unread, **notes})


def _unread(found: Mapping[str, Weight], read: Sequence[str], criterion: str) -> dict[str, str]:
    """Notes on weights of which it is not known what they multiply."""
    unread = [name for name in found if name not in read]
    if not read:
        raise PenjingError(
            "PJ818",
            f"`{criterion}` cannot rank any of {len(unread)} weights",
            because="none is the weight of one linear layer or convolution that is called once",
            tries=['criterion="magnitude"'],
        )
    return dict.fromkeys(unread, "what it multiplies is not known: it is not read once by one layer")


def _statistics(
    model: nn.Module,
    example_inputs: Any,
    criterion: WeightCriterion,
    data: Iterable[Any] | None,
    loss: Loss | None,
) -> Statistics:
    needs = criterion.record.needs
    if not needs:
        return Statistics()
    if example_inputs is None:
        raise PenjingError(
            "PJ302",
            f"`{criterion.record.name}` needs the example inputs",
            because="the network is traced to know what its weights do",
            tries=["sparsify(model, example_inputs, ...)"],
        )
    batches = list(data) if isinstance(data, Iterator) else data
    return criteria.collect(trace(model, example_inputs), needs, data=batches, loss=loss)
