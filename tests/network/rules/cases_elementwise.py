"""Operators that treat every element alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from tests.network.rules.case import Case, blank, case, flags, integers, positive

aten = torch.ops.aten

_UNARY = """
abs absolute acos alias alias_copy angle arccos arcsin arcsinh arctan arctanh asin asinh atan atanh ceil celu clone conj
conj_physical contiguous cos cosh deg2rad detach detach_copy digamma elu erf erfc erfinv exp exp2 expm1 fix floor frac gelu
hardshrink hardsigmoid hardswish hardtanh i0 isfinite isinf isnan isneginf isposinf isreal leaky_relu lgamma lift
lift_fresh_copy log log10 log1p log2 log_sigmoid logical_not logit mish nan_to_num neg negative positive rad2deg real
reciprocal relu relu6 resolve_conj resolve_neg round rsqrt selu sgn sigmoid sign signbit silu sin sinc sinh softplus
softshrink special_digamma special_entr special_erf special_erfc special_erfcx special_erfinv special_exp2 special_expit
special_expm1 special_gammaln special_i0 special_i0e special_i1 special_i1e special_log1p special_log_ndtr special_logit
special_ndtr special_ndtri special_psi special_round special_sinc sqrt square tan tanh trunc
"""
_ABOVE_ONE = "acosh arccosh"
_BINARY = """
add arctan2 atan2 complex copysign div divide eq floor_divide float_power fmax fmin fmod ge greater greater_equal gt
heaviside hypot igamma igammac isclose ldexp le less less_equal logaddexp logaddexp2 logical_and logical_or logical_xor lt
maximum minimum mul multiply ne nextafter not_equal polar pow remainder rsub special_gammainc special_gammaincc
special_xlog1py special_xlogy special_zeta sub subtract true_divide xlogy
"""
_WHOLE = """
__and__ __or__ __xor__ __lshift__ __rshift__ bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor gcd lcm
"""
_LIKE = "ones_like rand_like randn_like zeros_like"
_IN_PLACE = """
abs acos add atan2 bitwise_not ceil celu clamp cos div elu eq erf exp floor fmod gelu hardsigmoid hardswish hardtanh leaky_relu
log logit masked_fill mish mul nan_to_num neg pow reciprocal relu relu6 remainder round rsqrt selu sigmoid sign silu sin sqrt
square sub tan tanh trunc xlogy zero
"""


def _apply(name: str, **options: Any) -> Callable[..., Any]:
    operator = getattr(aten, name)
    return lambda *tensors: operator(*tensors, **options)


def _in_place(name: str) -> Case:
    """The in-place form, on a copy; with whatever else it needs."""
    operator = getattr(aten, f"{name}_")
    second = {"add", "atan2", "div", "eq", "fmod", "mul", "pow", "remainder", "sub", "xlogy"}
    if name == "bitwise_not":
        return case(name, lambda x: operator(x.clone()), integers(5, 2, 3), note="in place")
    if name == "clamp":
        return case(name, lambda x: operator(x.clone(), 0.2, 0.5), positive(2, 3), note="in place")
    if name == "masked_fill":
        return case(name, lambda x, m: operator(x.clone(), m, 7.0), (2, 3), flags(3), note="in place")
    if name in second:
        return case(name, lambda x, y: operator(x.clone(), y), positive(2, 3), positive(3), note="in place")
    return case(name, lambda x: operator(x.clone()), positive(2, 3), note="in place")


CASES = (
    *(case(name, _apply(name), positive(2, 3)) for name in _UNARY.split()),
    *(case(name, _apply(name), positive(2, 3) + 1) for name in _ABOVE_ONE.split()),
    case("bitwise_not", aten.bitwise_not, flags(2, 3)),
    *(case(name, _apply(name), positive(2, 3), positive(2, 3)) for name in _BINARY.split()),
    *(
        case(name, _apply(name), positive(4, 1, 3), positive(2, 3), note="broadcast")
        for name in _BINARY.split()
    ),
    *(case(name, _apply(name), integers(5, 2, 3), integers(4, 3)) for name in _WHOLE.split()),
    *(case(name, _apply(name), (2, 3)) for name in _LIKE.split()),
    *map(_in_place, _IN_PLACE.split()),
    case("add", lambda x: x + 1.5, (2, 3), note="number"),
    case("add", lambda x, y: torch.add(x, y, alpha=2), (2, 1), (1, 3), note="both stretched"),
    case("add", lambda x, y: x + y, (), (2, 3), note="scalar"),
    case("pow", lambda x: 2.0**x, (2, 3), note="exponent"),
    case("rsub", lambda x: 1 - x, (2, 3), note="number"),
    case("addcdiv", torch.addcdiv, (2, 3), (2, 3), positive(3)),
    case("addcmul", torch.addcmul, (1, 1, 3), (1, 1, 3), (2, 4, 3)),
    case("lerp", torch.lerp, (2, 3), (2, 3), (3,)),
    case("lerp", lambda x, y: torch.lerp(x, y, 0.3), (2, 3), (2, 3), note="number"),
    case("clamp", lambda x: x.clamp(0.0, 0.5), (2, 3)),
    case("clamp", torch.clamp, (2, 3), (3,), (2, 1), note="tensors"),
    case("clip", lambda x: aten.clip(x, 0.0, 0.5), (2, 3)),
    case("clamp_max", lambda x: aten.clamp_max(x, 0.5), (2, 3)),
    case("clamp_min", lambda x: aten.clamp_min(x, 0.5), (2, 3)),
    case("threshold", lambda x: F.threshold(x, 0.1, 20.0), (2, 3)),
    case("rrelu", F.rrelu, (2, 3)),
    case("rrelu_with_noise", aten.rrelu_with_noise, (2, 3), (2, 3)),
    case("polygamma", lambda x: torch.polygamma(1, x), positive(2, 3)),
    case("bernoulli", lambda x: aten.bernoulli(x), positive(2, 3)),
    case("fill", lambda x: aten.fill(x, 2.0), (2, 3)),
    case("fill", lambda x, v: x.clone().fill_(v), (2, 3), (), note="in place"),
    case("empty_like", blank(torch.empty_like), (2, 3)),
    case("full_like", lambda x: torch.full_like(x, 2.0), (2, 3)),
    case("randint_like", blank(lambda x: aten.randint_like(x, 5)), (2, 3)),
    case("_conj", lambda x, y: aten._conj(torch.complex(x, y)).real, (2, 3), (2, 3)),
    case("imag", lambda x, y: torch.complex(x, y).imag, (2, 3), (2, 3)),
    case("masked_fill", lambda x, m: x.masked_fill(m, -1.0), (4, 2, 3), flags(2, 1)),
    case("masked_fill", torch.masked_fill, (2, 3), flags(2, 3), (), note="tensor"),
    case("where", torch.where, flags(2, 1), (2, 3), (3,)),
    case("where", lambda m, x: torch.where(m, x, 0.0), flags(2, 3), (2, 3), note="number"),
    case("where", lambda m, x: torch.where(m, 1.0, x), flags(3), (2, 3), note="number first"),
    case("broadcast_tensors", lambda x, y: torch.broadcast_tensors(x, y), (2, 1, 3), (4, 1)),
    case("copy", lambda x, y: x.clone().copy_(y), (2, 3), (3,)),
    case("copy", lambda x, y: aten.copy(x, y), (2, 3), (1, 3), note="out of place"),
    case("_prelu_kernel", aten._prelu_kernel, (2, 3, 4), (1, 3, 1)),
    case("prelu", F.prelu, (2, 3, 4), (3,)),
    case("prelu", F.prelu, (2, 3), (1,), note="one slope"),
    case("prelu", F.prelu, (5,), (1,), note="vector"),
    case("glu", F.glu, (2, 6)),
    case("glu", lambda x: F.glu(x, dim=1), (2, 6, 3), note="channels"),
    case("glu", lambda x: F.glu(x, dim=-2), (2, 2, 3), note="one unit", frozen="0.1"),
    case("renorm", lambda x: torch.renorm(x, 2, 0, 0.5), (3, 4)),
    case("to", lambda x: x.to(torch.float32), (2, 3)),
    case("to", lambda x, y: x.to(y), (2, 3), (4, 5), note="type of another"),
    case("_to_copy", lambda x: aten._to_copy(x, dtype=torch.float32), (2, 3)),
    case("type_as", lambda x, y: x.type_as(y), (2, 3), (4, 5)),
    case("requires_grad", lambda x: aten.requires_grad_(x.clone(), False), (2, 3)),
    case("dropout", lambda x: F.dropout(x, 0.5, training=False), (2, 3)),
    case("dropout", lambda x: aten.dropout_(x.clone(), 0.5, False), (2, 3), note="in place"),
    case("alpha_dropout", lambda x: F.alpha_dropout(x, 0.5, training=False), (2, 3)),
    case("feature_dropout", lambda x: F.dropout2d(x, 0.5, training=False), (2, 3, 4, 5)),
    case("feature_alpha_dropout", lambda x: F.feature_alpha_dropout(x, 0.5, training=False), (2, 3)),
    case("native_dropout", lambda x: aten.native_dropout(x, 0.5, False), (2, 3)),
    case("normal", lambda x: aten.normal_(x.clone()), (2, 3)),
    case("uniform", lambda x: aten.uniform_(x.clone()), (2, 3)),
)
