"""Operators that treat every element alike: dimensions are aligned from the last, size 1 is broadcast."""

from __future__ import annotations

from penjing.axes import Space
from penjing.network.op import Op
from penjing.network.rules import ties
from penjing.network.rules.ordering import chosen


def broadcast(op: Op, axes: Space) -> None:
    """f(x[*b], y[*b], ...) -> z[*b], ...: every tensor argument is broadcast"""
    for output in ties.outputs(op):
        for dims in op.inputs():
            ties.broadcast(axes, dims, output)


def first(op: Op, axes: Space) -> None:
    """f(x[*b], ...) -> y[*b], ...: only the first argument's dimensions count"""
    dims = op.inputs()[0]
    for output in ties.outputs(op):
        ties.broadcast(axes, dims, output)


def where(op: Op, axes: Space) -> None:
    """where(condition[*b], x[*b], y[*b]) -> z[*b], broadcast; of the condition alone, where it holds"""
    if "self" in op.arguments or "other" in op.arguments:
        broadcast(op, axes)
    else:
        chosen(op, axes)


def copy(op: Op, axes: Space) -> None:
    """copy_(x[*b], src[*b]) -> x[*b], src broadcast"""
    ties.broadcast(axes, op.dims("src"), op.dims("self"))
    ties.same(axes, op.dims("self"), op.output)


def prelu(op: Op, axes: Space) -> None:
    """prelu(x[b c *s], w[c] or w[1]) -> y[b c *s]"""
    x, w = op.dims("self"), op.dims("weight")
    ties.same(axes, x, op.output)
    if w and axes.size(w[0]) > 1:
        axes.tie(w[0], x[1])


def glu(op: Op, axes: Space) -> None:
    """glu(x[*a 2h *b]) -> y[*a h *b]: the halves are multiplied, so they are one axis"""
    x = op.dims("self")
    place = ties.place_of(op, x)
    half = axes.size(x[place]) // 2
    left, right = axes.split(x[place], (half, half))
    axes.tie(left, right)
    axes.tie(left, op.output[place])
    ties.others(axes, x, op.output, place)


def renorm(op: Op, axes: Space) -> None:
    """renorm(x[*a n *b], p, dim, max) -> y[*a n *b]: what is left is scaled by its own norm"""
    ties.same(axes, op.dims("self"), op.output)
    op.normalises = True


def nothing(op: Op, axes: Space) -> None:
    """sym_size(x[*b], dim) -> a number; assertions give nothing at all: neither ties anything"""
    del op, axes


POINTWISE = (
    "abs absolute acos acosh add addcdiv addcmul alias alias_copy __and__ angle arccos arccosh arcsin "
    "arcsinh arctan arctan2 arctanh asin asinh atan atan2 atanh bernoulli bitwise_and bitwise_left_shift "
    "bitwise_not bitwise_or bitwise_right_shift bitwise_xor broadcast_tensors ceil celu clamp clamp_max "
    "clamp_min clip clone complex conj _conj conj_physical contiguous copysign cos cosh deg2rad detach_copy "
    "digamma div divide elu empty_like eq erf erfc erfinv exp exp2 expm1 fill fix float_power floor "
    "floor_divide fmax fmin fmod frac full_like gcd ge gelu greater greater_equal gt hardshrink "
    "hardsigmoid hardswish hardtanh heaviside hypot i0 igamma igammac imag isclose isfinite isinf isnan "
    "isneginf isposinf isreal lcm ldexp le leaky_relu lerp less less_equal lgamma lift "
    "lift_fresh_copy log log10 log1p log2 log_sigmoid logaddexp logaddexp2 logical_and logical_not "
    "logical_or logical_xor logit __lshift__ lt masked_fill maximum minimum mish mul multiply nan_to_num "
    "ne neg negative nextafter not_equal ones_like __or__ polar polygamma positive pow _prelu_kernel "
    "rad2deg rand_like randint_like randn_like real reciprocal relu relu6 remainder round rrelu "
    "rrelu_with_noise __rshift__ rsqrt rsub selu sgn sigmoid sign signbit silu sin sinc sinh softplus "
    "softshrink special_digamma special_entr special_erf special_erfc special_erfcx special_erfinv "
    "special_exp2 special_expit special_expm1 special_gammainc special_gammaincc special_gammaln "
    "special_i0 special_i0e special_i1 special_i1e special_log1p special_log_ndtr special_logit "
    "special_ndtr special_ndtri special_psi special_round special_sinc special_xlog1py special_xlogy "
    "special_zeta sqrt square sub subtract tan tanh threshold true_divide trunc xlogy __xor__ zero "
    "zeros_like"
)

FIRST_ONLY = (
    "alpha_dropout detach dropout feature_alpha_dropout feature_dropout native_dropout normal "
    "requires_grad resolve_conj resolve_neg to _to_copy type_as uniform"
)
