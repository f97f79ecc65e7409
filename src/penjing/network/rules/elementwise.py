"""Operators that treat every element alike: dimensions are aligned from the last, size 1 is broadcast."""

from __future__ import annotations

from penjing.axes import Space
from penjing.network.op import Dims, Op


def broadcast(op: Op, axes: Space) -> None:
    """f(x[*b], y[*b], ...) -> z[*b], ... with every tensor argument broadcast."""
    for output in op.outputs:
        if output is not None:
            for dims in op.inputs():
                tie_broadcast(axes, dims, output)


def first(op: Op, axes: Space) -> None:
    """f(x[*b], ...) -> y[*b]: only the first argument's dimensions count."""
    dims = op.inputs()[0]
    for output in op.outputs:
        if output is not None:
            tie_broadcast(axes, dims, output)


def copy(op: Op, axes: Space) -> None:
    """copy_(x[*b], src[*b]) -> x[*b], src broadcast."""
    tie_broadcast(axes, op.dims("src"), op.dims("self"))
    tie_broadcast(axes, op.dims("self"), op.output)


def prelu(op: Op, axes: Space) -> None:
    """prelu(x[b c *s], w[c] or w[1]) -> y[b c *s]"""
    x, (w,) = op.dims("self"), op.dims("weight")
    tie_broadcast(axes, x, op.output)
    if axes.size(w) > 1:
        axes.tie(w, x[1])


def glu(op: Op, axes: Space) -> None:
    """glu(x[*a 2h *b]) -> y[*a h *b]: the halves are multiplied, so they are one axis."""
    x, dim = op.dims("self"), op.value("dim") % len(op.dims("self"))
    half = axes.size(x[dim]) // 2
    left, right = axes.split(x[dim], (half, half))
    axes.tie(left, right)
    for place, (before, after) in enumerate(zip(x, op.output, strict=True)):
        axes.tie(left if place == dim else before, after)


def nothing(op: Op, axes: Space) -> None:
    """Ties nothing: assertions, scalars."""
    del op, axes


def tie_broadcast(axes: Space, dims: Dims, output: Dims) -> None:
    """Ties `dims` to `output` from the last dimension on, where sizes agree; size 1 is broadcast and says nothing."""
    for before, after in zip(reversed(dims), reversed(output), strict=False):
        if axes.size(before) != 1 or axes.size(after) == 1:
            axes.tie(before, after)


POINTWISE = """
abs absolute acos acosh add addcdiv addcmul alias angle asin asinh atan atan2 atanh bernoulli bitwise_and bitwise_left_shift
bitwise_not bitwise_or bitwise_right_shift bitwise_xor bucketize ceil celu clamp clamp_max clamp_min clip clone conj contiguous
cos cosh deg2rad detach div divide dropout elu eq erf erfc erfinv exp exp2 expm1 fill fix float_power floor floor_divide fmax fmin
fmod frac ge gelu greater greater_equal gt hardshrink hardsigmoid hardswish hardtanh heaviside hypot isfinite isinf isnan
leaky_relu ldexp le lerp less less_equal lgamma log log10 log1p log2 log_sigmoid logaddexp logaddexp2 logical_and logical_not logical_or
logical_xor logit lt masked_fill maximum minimum mish mul multiply nan_to_num ne neg negative not_equal ones_like
empty_like zeros_like full_like rand_like randn_like polar positive pow rad2deg reciprocal relu relu6 remainder round rrelu rrelu_with_noise rsqrt
rsub selu sgn sigmoid sign signbit silu sin sinc sinh softplus softshrink sqrt square sub subtract tan tanh threshold true_divide
trunc where xlogy zero lift lift_fresh lift_fresh_copy special_expit special_logit special_erf special_log1p
special_expm1 complex real imag
""".split()

FIRST_ONLY = """
to type_as _to_copy _to_dtype detach alpha_dropout feature_dropout feature_alpha_dropout native_dropout bfloat16 float double half cpu
dropout requires_grad _conj resolve_conj resolve_neg rrelu normal uniform
""".split()
