"""Every rule of the table, held against its operator."""

from __future__ import annotations

import pytest
import torch

from penjing.network import RULES
from penjing.testing import check_rule
from tests.network.rules import (
    cases_contraction,
    cases_elementwise,
    cases_indexing,
    cases_joining,
    cases_losses,
    cases_normalisation,
    cases_position,
    cases_quantisation,
    cases_recurrent,
    cases_reduction,
    cases_reshaping,
    cases_slicing,
    cases_spatial,
)
from tests.network.rules.case import Case

FAMILIES = (
    cases_contraction,
    cases_elementwise,
    cases_indexing,
    cases_joining,
    cases_losses,
    cases_normalisation,
    cases_position,
    cases_quantisation,
    cases_recurrent,
    cases_reduction,
    cases_reshaping,
    cases_slicing,
    cases_spatial,
)
CASES: tuple[Case, ...] = tuple(case for family in FAMILIES for case in family.CASES)


@pytest.mark.filterwarnings("ignore:index_reduce.* is in beta")
@pytest.mark.filterwarnings("ignore:(var|std)_mean.*degrees of freedom")  # of a single value that is left
@pytest.mark.parametrize("case", CASES, ids=str)
def test_rule_says_of_its_operator_what_is_so(case: Case) -> None:
    found = check_rule(
        case.function,
        *case.make(),
        masked=case.masked,
        frozen=case.frozen,
        limits=case.limits,
        refuses=case.refuses,
    )
    assert case.refuses or case.name in found.operators, (
        f"{case.name} does not occur: {sorted(found.operators)}"
    )


GONE = frozenset({"aten.cholesky", "aten.qr"})
"""Operators that the newest torch has no more, and the oldest still has."""


def exists(name: str) -> bool:
    namespace, operator = name.split(".")
    packets = getattr(torch.ops, namespace)
    return hasattr(packets, operator) or hasattr(packets, f"{operator}_")


def test_every_rule_of_the_table_has_a_case() -> None:
    known = {name for name in RULES if name not in GONE or exists(name)}
    assert sorted(known - {case.name for case in CASES}) == []


def test_every_case_is_of_a_rule_of_the_table() -> None:
    assert sorted({case.name for case in CASES} - set(RULES)) == []


def test_every_rule_is_of_an_operator_that_there_is() -> None:
    assert [name for name in RULES if not exists(name) and name not in GONE] == []
