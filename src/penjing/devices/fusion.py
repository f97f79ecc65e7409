"""Which operators a runtime folds into another, so that they cost nothing of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from penjing.devices.terms import kind
from penjing.network import Operator, TensorRef

_HEADS: Final = frozenset({"conv1d", "conv2d", "conv3d", "linear", "addmm"})
_SCALING: Final = frozenset({"batch_norm", "_native_batch_norm_legit_no_training", "native_batch_norm"})
_ACTIVATIONS: Final = frozenset(
    {"relu", "hardtanh", "relu6", "clamp", "leaky_relu", "sigmoid", "tanh", "hardsigmoid"}
)
_NOTHING: Final = frozenset(
    {"dropout", "alpha_dropout", "feature_dropout", "detach", "alias", "contiguous", "clone"}
)


def folded(operators: Sequence[Operator]) -> Mapping[str, str]:
    """Operators that cost nothing, by name, and the one that each is part of ("" for none).

    Batch norm goes into the convolution before it, an activation into the convolution or linear layer before
    it where nobody else reads in between; what depends on no input is computed when the model is loaded.
    """
    by_name = {operator.name: operator for operator in operators}
    sources = {operator.name: tuple(tensors_in(operator.arguments)) for operator in operators}
    uses = Counter(ref.name for refs in sources.values() for ref in refs)
    found: dict[str, str] = {}
    constant: set[str] = set()
    for operator in operators:
        refs = sources[operator.name]
        if all(ref.parameter or ref.name in constant for ref in refs):
            constant.add(operator.name)
            found[operator.name] = ""
        elif kind(operator) in _NOTHING:
            found[operator.name] = ""
        elif kind(operator) in _SCALING | _ACTIVATIONS and uses[refs[0].name] == 1:
            before = by_name.get(refs[0].name)
            if before is not None and (head := _head(before, kind(operator), found)):
                found[operator.name] = head
    return found


def _head(before: Operator, what: str, found: Mapping[str, str]) -> str:
    """The operator that one of kind `what` behind `before` becomes a part of; "" for none."""
    if kind(before) in _HEADS and (what in _ACTIVATIONS or kind(before).startswith("conv")):
        return before.name
    return found.get(before.name, "") if what in _ACTIVATIONS and kind(before) in _SCALING else ""


def tensors_in(value: Any) -> Iterator[TensorRef]:
    """Every tensor among arguments, in order."""
    if isinstance(value, TensorRef):
        yield value
    elif isinstance(value, Mapping):
        for entry in value.values():
            yield from tensors_in(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from tensors_in(entry)
