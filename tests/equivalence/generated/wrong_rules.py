"""Rules that are wrong on purpose: each ties dimensions to the wrong indices, or forgets to say something."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from penjing.axes import Dim, Space
from penjing.network import RULES
from penjing.network.op import Op, Rule


@dataclass(frozen=True)
class Mistake:
    """A wrong rule.

    Attributes:
        what: is wrong with it.
        operators: whose rule it replaces.
        moves: of the generator, which use such an operator.
        rule: the wrong one.
    """

    what: str
    operators: tuple[str, ...]
    moves: frozenset[str]
    rule: Rule

    @property
    def rules(self) -> Mapping[str, Rule]:
        """The shipped rules with this mistake in them."""
        return MappingProxyType({**RULES, **{f"aten.{name}": self.rule for name in self.operators}})

    def __str__(self) -> str:
        return self.what.replace(" ", "-")


def _tie_all(axes: Space, left: Sequence[Dim], right: Sequence[Dim], but: int | None = None) -> None:
    for place, (one, other) in enumerate(zip(left, right, strict=True)):
        if place != but:
            axes.tie(one, other)


def _place(op: Op, rank: int) -> int:
    dim = op.value("dim")
    assert isinstance(dim, int)
    return dim % rank


def _joined_backwards(op: Op, axes: Space) -> None:
    place = _place(op, len(op.output))
    parts = op.inputs()
    for dims in parts:
        _tie_all(axes, dims, op.output, place)
    axes.tie(op.output[place], axes.sum(*(dims[place] for dims in reversed(parts))))


def _split_backwards(op: Op, axes: Space) -> None:
    x, outputs = op.inputs()[0], [dims for dims in op.outputs if dims]
    place = _place(op, len(x))
    pieces = [dims[place] for dims in outputs]
    axes.tie(x[place], axes.sum(*reversed(pieces)))
    for dims in outputs:
        _tie_all(axes, x, dims, place)
    op.cuts_into(place, pieces)


def _stays_in_place(op: Op, axes: Space) -> None:
    _tie_all(axes, op.inputs()[0], op.output)


def _repeated_the_other_way(op: Op, axes: Space) -> None:
    x, y = op.inputs()[0], op.output
    times: list[Dim | None] = []
    for before, after in zip(x, y, strict=True):
        copies = axes.atom(axes.size(after) // axes.size(before))
        interleaved = op.name == "aten.repeat_interleave"
        axes.tie(after, axes.product(*((copies, before) if interleaved else (before, copies))))
        times.append(copies)
    if op.name == "aten.repeat":
        op.resize("repeats", times)
    else:
        op.resize("repeats", times[_place(op, len(x))])


def _digits_swapped(op: Op, axes: Space) -> None:
    """Right but for one dimension that is cut in two, or two that are merged: slow and fast change places."""
    x, y = op.inputs()[0], op.output
    longer, shorter = (x, y) if len(x) > len(y) else (y, x)
    if len(longer) != len(shorter) + 1:
        RULES["aten.view"](op, axes)
        return
    sizes = [axes.size(dim) for dim in shorter]
    at = next(i for i in range(len(longer)) if i == len(shorter) or axes.size(longer[i]) != sizes[i])
    _tie_all(axes, (*longer[:at], *longer[at + 2 :]), (*shorter[:at], *shorter[at + 1 :]))
    axes.tie(axes.product(longer[at + 1], longer[at]), shorter[at])
    stated = op.value("size" if "size" in op.arguments else "shape")
    op.resize(
        "size" if "size" in op.arguments else "shape",
        [None if n == -1 else d for n, d in zip(stated, y, strict=True)],
    )


def _groups_swapped(op: Op, axes: Space) -> None:
    groups = op.value("groups")
    x, w = op.dims("input"), op.dims("weight")
    if groups == 1:
        RULES["aten.conv2d"](op, axes)
        return
    count, per_group = axes.atom(groups), axes.atom(axes.size(w[0]) // groups)
    axes.tie(w[0], axes.product(per_group, count))
    axes.tie(x[1], axes.product(w[1], count))
    axes.tie(op.output[1], w[0])
    bias = op.maybe("bias")
    if bias:
        axes.tie(bias[0], w[0])
    axes.tie(x[0], op.output[0])
    for dim in (*w[2:], *x[2:], *op.output[2:]):
        axes.freeze(dim, "taps and pixels")
    op.resize("groups", count)
    op.contracts = True


def _weight_transposed(op: Op, axes: Space) -> None:
    x, w = op.dims("input"), op.dims("weight")
    if axes.size(w[0]) != axes.size(w[1]):
        RULES["aten.linear"](op, axes)
        return
    axes.tie(x[-1], w[0])
    _tie_all(axes, op.output, (*x[:-1], w[1]))
    bias = op.maybe("bias")
    if bias:
        axes.tie(bias[0], w[1])
    op.contracts = True


def _never_sums(op: Op, axes: Space) -> None:
    RULES[op.name](op, axes)
    op.contracts = False


def _never_normalises(op: Op, axes: Space) -> None:
    RULES[op.name](op, axes)
    op.normalises = False


def _forgets_sizes(op: Op, axes: Space) -> None:
    RULES[op.name](op, axes)
    op.sizes.clear()


def _vectors_left_alone(op: Op, axes: Space) -> None:
    _tie_all(axes, op.inputs()[0], op.output)


def _halves_left_alone(op: Op, axes: Space) -> None:
    x = op.dims("self")
    place = _place(op, len(x))
    half = axes.size(x[place]) // 2
    left, _ = axes.split(x[place], (half, half))
    _tie_all(axes, (*x[:place], left, *x[place + 1 :]), op.output)


_CONVOLVED = frozenset({"conv", "depthwise conv", "group norm"})
_HEADS = frozenset({"attention", "nn.MultiheadAttention", "cross attention"})

MISTAKES: tuple[Mistake, ...] = (
    Mistake("cat joins backwards", ("cat",), frozenset({"concatenation"}), _joined_backwards),
    Mistake(
        "split cuts backwards", ("split", "split_with_sizes", "chunk"), frozenset({"split"}), _split_backwards
    ),
    Mistake(
        "channel shuffle shuffles nothing",
        ("channel_shuffle",),
        frozenset({"channel shuffle"}),
        _stays_in_place,
    ),
    Mistake("roll moves nothing", ("roll",), frozenset({"roll"}), _stays_in_place),
    Mistake(
        "repeat repeats the other way",
        ("repeat", "repeat_interleave"),
        frozenset({"repeat"}),
        _repeated_the_other_way,
    ),
    Mistake("view swaps slow and fast", ("view", "reshape"), frozenset({"channel shuffle"}), _digits_swapped),
    Mistake(
        "grouped convolution swaps its groups", ("conv2d",), frozenset({"grouped conv"}), _groups_swapped
    ),
    Mistake("linear reads its weight transposed", ("linear",), frozenset({"linear"}), _weight_transposed),
    Mistake("convolution does not say that it sums", ("conv2d",), _CONVOLVED, _never_sums),
    Mistake(
        "layer norm does not say that it normalises",
        ("layer_norm",),
        frozenset({"layer norm"}),
        _never_normalises,
    ),
    Mistake("mean does not say that it averages", ("mean",), frozenset({"head mean"}), _never_normalises),
    Mistake("view states no sizes", ("view", "reshape"), _HEADS, _forgets_sizes),
    Mistake("batch norm ties no vector", ("batch_norm",), frozenset({"bottleneck"}), _vectors_left_alone),
    Mistake("glu ties one half only", ("glu",), frozenset({"gate"}), _halves_left_alone),
)
