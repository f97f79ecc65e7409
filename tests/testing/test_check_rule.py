"""The kit that checks rules: a wrong rule turns a test red, and so does one that is too careful."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from penjing.axes import Space
from penjing.network import RULES
from penjing.network.op import Op, Rule
from penjing.testing import RuleFailure, check_rule


def _tensor(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _linear_crossed(op: Op, axes: Space) -> None:
    x, w = op.dims("input"), op.dims("weight")
    axes.tie(x[-1], w[0])
    axes.tie(op.output[-1], w[1])
    axes.tie(x[0], op.output[0])
    op.contracts = True


def _linear_that_does_not_contract(op: Op, axes: Space) -> None:
    RULES["aten.linear"](op, axes)
    op.contracts = False


def _linear_untied(op: Op, axes: Space) -> None:
    axes.tie(op.dims("input")[0], op.output[0])
    axes.tie(op.dims("weight")[0], op.output[1])
    op.contracts = True


def _passed_on(op: Op, axes: Space) -> None:
    for before, after in zip(op.dims("self"), op.output, strict=True):
        axes.tie(before, after)


def _passed_on_of_what_is_left(op: Op, axes: Space) -> None:
    for output in op.outputs:
        for before, after in zip(op.dims("self"), output or (), strict=True):
            axes.tie(before, after)
    op.normalises = True


def _layer_norm_of_a_stated_size(op: Op, axes: Space) -> None:
    RULES["aten.layer_norm"](op, axes)
    op.sizes.clear()


def _cat_in_the_wrong_order(op: Op, axes: Space) -> None:
    x, y = op.inputs()
    axes.tie(x[0], y[0])
    axes.tie(x[0], op.output[0])
    axes.tie(op.output[1], axes.sum(y[1], x[1]))


def _glu_of_neighbours(op: Op, axes: Space) -> None:
    x = op.dims("self")
    half, pair = axes.factor(x[1], (axes.size(x[1]) // 2, 2))
    axes.freeze(pair, "pairs are not units")
    axes.tie(op.output[1], half)
    axes.tie(op.output[0], x[0])


def _group_norm_of_interleaved_groups(op: Op, axes: Space) -> None:
    x = op.dims("input")
    for before, after in zip(x, op.output, strict=True):
        axes.tie(before, after)
    _, groups = axes.factor(x[1], (axes.size(x[1]) // op.value("num_groups"), op.value("num_groups")))
    op.resize("num_groups", groups)
    op.normalises = True


def _transpose_of_nothing(op: Op, axes: Space) -> None:
    _passed_on(op, axes)


WRONG: tuple[tuple[str, Rule, Callable[..., Any], tuple[torch.Tensor, ...], str], ...] = (
    ("linear", _linear_crossed, F.linear, (_tensor(2, 3), _tensor(3, 3)), "does not run"),
    ("linear", _linear_that_does_not_contract, F.linear, (_tensor(2, 3), _tensor(4, 3)), "differ by"),
    ("linear", _linear_untied, F.linear, (_tensor(2, 3), _tensor(4, 3)), "does not run"),
    ("flip", _passed_on, lambda x: x.flip(1), (_tensor(2, 3),), "differ by"),
    ("softmax", _passed_on, lambda x: x.softmax(1), (_tensor(2, 3),), "differ by"),
    ("sort", _passed_on_of_what_is_left, lambda x: x.sort(1), (_tensor(2, 5),), "order of the units"),
    ("cumsum", _passed_on_of_what_is_left, lambda x: x.cumsum(1), (_tensor(2, 5),), "order of the units"),
    (
        "layer_norm",
        _layer_norm_of_a_stated_size,
        lambda x: F.layer_norm(x, x.shape[1:]),
        (_tensor(2, 5),),
        "run",
    ),
    (
        "cat",
        _cat_in_the_wrong_order,
        lambda x, y: torch.cat([x, y], 1),
        (_tensor(2, 3), _tensor(2, 3)),
        "differ by",
    ),
    ("glu", _glu_of_neighbours, F.glu, (_tensor(2, 8),), "differ by"),
    ("transpose", _transpose_of_nothing, lambda x: x.transpose(0, 1), (_tensor(3, 3),), "does not run"),
)


@pytest.mark.parametrize(("name", "rule", "function", "tensors", "finding"), WRONG)
def test_check_rule_fails_when_a_rule_is_wrong(
    name: str, rule: Rule, function: Callable[..., Any], tensors: tuple[torch.Tensor, ...], finding: str
) -> None:
    with pytest.raises(RuleFailure, match=finding):
        check_rule(function, *tensors, rules={**RULES, f"aten.{name}": rule})


def _groups(tensors: Any, masks: Any) -> torch.Tensor:
    (x,), (mask,) = tensors, masks
    x, mask = x.view(2, 3, 2, 4), mask.view(2, 3, 2, 4)
    count = mask.sum((2, 3), keepdim=True)
    middle = (x * mask).sum((2, 3), keepdim=True) / count
    spread = ((x - middle).square() * mask).sum((2, 3), keepdim=True) / count
    return ((x - middle) / (spread + 1e-5).sqrt()).view(2, 6, 4)


def test_check_rule_fails_when_groups_are_interleaved_instead_of_consecutive() -> None:
    wrong = {**RULES, "aten.group_norm": _group_norm_of_interleaved_groups}
    with pytest.raises(RuleFailure, match="differ by"):
        check_rule(lambda x: F.group_norm(x, 3), _tensor(2, 6, 4), rules=wrong, masked=_groups)


def test_check_rule_passes_when_the_same_rule_is_right() -> None:
    assert check_rule(lambda x: F.group_norm(x, 3), _tensor(2, 6, 4), masked=_groups).max_error < 1e-10


def _too_careful(op: Op, axes: Space) -> None:
    RULES["aten.linear"](op, axes)
    axes.freeze(op.dims("weight")[1], "better safe than sorry")


def test_check_rule_fails_when_a_dimension_is_frozen_that_nobody_listed() -> None:
    with pytest.raises(RuleFailure, match="better safe than sorry"):
        check_rule(F.linear, _tensor(2, 3), _tensor(4, 3), rules={**RULES, "aten.linear": _too_careful})


def test_check_rule_fails_when_a_dimension_is_frozen_without_need() -> None:
    wrong = {**RULES, "aten.linear": _too_careful}
    with pytest.raises(RuleFailure, match="frozen without need"):
        check_rule(F.linear, _tensor(2, 3), _tensor(4, 3), rules=wrong, frozen="0.1 1.1")


def test_check_rule_takes_a_reason_of_kind_for_a_separable_dimension() -> None:
    def rule(op: Op, axes: Space) -> None:
        RULES["aten.linear"](op, axes)
        axes.freeze(op.dims("weight")[1], "inputs are not units")

    found = check_rule(
        F.linear, _tensor(2, 3), _tensor(4, 3), rules={**RULES, "aten.linear": rule}, frozen="0.1 1.1"
    )
    assert found.frozen == {"0.1": "inputs are not units", "1.1": "inputs are not units"}


def test_check_rule_fails_when_a_listed_dimension_is_free() -> None:
    with pytest.raises(RuleFailure, match=r"expected are \['0.0'\]"):
        check_rule(torch.relu, _tensor(2, 3), frozen="0.0")


def test_check_rule_fails_when_a_limit_is_none() -> None:
    with pytest.raises(RuleFailure, match="called a limit"):
        check_rule(torch.tril, _tensor(4, 3), frozen="0.0 0.1", limits="0.0")


def test_check_rule_fails_when_an_operator_has_no_rule() -> None:
    bare = {name: rule for name, rule in RULES.items() if name != "aten.relu"}
    with pytest.raises(RuleFailure, match=r"operator aten\.relu has no rule"):
        check_rule(torch.relu, _tensor(2, 3), rules=bare)


def test_check_rule_says_so_when_the_function_states_a_size() -> None:
    with pytest.raises(RuleFailure, match="reads sizes off its tensors"):
        check_rule(lambda x: F.layer_norm(x, (5,)), _tensor(2, 5))


def test_check_rule_fails_when_the_masked_form_is_another_function() -> None:
    with pytest.raises(RuleFailure, match="differ by"):
        check_rule(lambda x: x.softmax(1), _tensor(2, 5), masked=lambda tensors, masks: tensors[0].softmax(1))


def test_check_rule_tells_what_it_found() -> None:
    found = check_rule(F.linear, _tensor(2, 3), _tensor(4, 3), rounds=2)
    assert len(found.free) == 3
    assert found.cuts == 3 + 2
    assert "aten.linear" in found.operators
    assert found.frozen == {}


def test_check_rule_checks_a_custom_operator() -> None:
    @torch.library.custom_op("penjing_test::halves", mutates_args=())
    def halves(x: torch.Tensor) -> torch.Tensor:
        left, right = x.chunk(2, -1)
        return left * right.sigmoid()

    @halves.register_fake
    def _(x: torch.Tensor) -> torch.Tensor:
        return x.new_empty(*x.shape[:-1], x.shape[-1] // 2)

    def rule(op: Op, axes: Space) -> None:
        """halves(x[*b 2h]) -> y[*b h]"""
        x = op.dims("x")
        left, right = axes.split(x[-1], (axes.size(op.output[-1]),) * 2)
        axes.tie(left, right)
        for before, after in zip((*x[:-1], left), op.output, strict=True):
            axes.tie(before, after)

    found = check_rule(halves, _tensor(2, 6), rules={**RULES, "penjing_test.halves": rule})
    assert len(found.free) == 2
