"""Laws of the axis algebra: solutions are sound, order-free and idempotent, checked against plain arrays."""

from __future__ import annotations

import math
import random
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.axes import Space, indices, leaves, mask, size_at, units

Relation = tuple[str, int, tuple[int, ...]]


def _system(rng: random.Random) -> tuple[list[int], list[Relation], list[tuple[int, int]]]:
    """Random dimensions by size, how some are composed of others, and ties between equal sizes."""
    sizes: list[int] = []
    relations: list[Relation] = []
    for _ in range(rng.randint(2, 7)):
        total = rng.choice([4, 6, 8, 12, 12, 24])
        whole = len(sizes)
        sizes.append(total)
        for _ in range(rng.randint(0, 2)):
            if rng.random() < 0.5:
                cuts = sorted(rng.sample(range(1, total), rng.randint(1, min(3, total - 1))))
                parts = [b - a for a, b in zip([0, *cuts], [*cuts, total], strict=True)]
                kind = "sum"
            else:
                divisors = [d for d in range(2, total) if total % d == 0]
                d = rng.choice(divisors)
                parts, kind = [d, total // d], "product"
            relations.append((kind, whole, tuple(range(len(sizes), len(sizes) + len(parts)))))
            sizes.extend(parts)
    ties = []
    for _ in range(rng.randint(1, 8)):
        a = rng.randrange(len(sizes))
        same = [b for b in range(len(sizes)) if sizes[b] == sizes[a] and b != a]
        if same:
            ties.append((a, rng.choice(same)))
    return sizes, relations, ties


def _solve(sizes: list[int], steps: list[tuple], repeat: int = 1) -> tuple[Space, list[int]]:
    space = Space()
    dims = list(space.atoms(sizes))
    for _ in range(repeat):
        for step in steps:
            if isinstance(step[0], str):
                kind, whole, parts = step
                space.tie(dims[whole], getattr(space, kind)(*(dims[p] for p in parts)))
            else:
                space.tie(dims[step[0]], dims[step[1]])
    return space, dims


def _signature(space: Space, dims: list[int]) -> set[frozenset[tuple[int, int]]]:
    """For every unit that can be cut, the indices of all dimensions that go with it."""
    places: dict[tuple[int, int], set[tuple[int, int]]] = {}
    frozen = space.frozen()
    for number, dim in enumerate(dims):
        for atom in leaves(space, dim):
            if space.size(atom) == 1 or atom in frozen:  # a single index is never cut
                continue
            for labels in units(space, dim, atom):
                for index, unit in enumerate(labels):
                    if unit >= 0:
                        places.setdefault((atom, unit), set()).add((number, index))
    return {frozenset(found) for found in places.values()}


@given(st.integers(0, 2**32))
def test_solution_satisfies_every_relation_for_any_choice_of_kept_indices(seed: int) -> None:
    rng = random.Random(seed)
    sizes, relations, ties = _system(rng)
    space, dims = _solve(sizes, [*relations, *ties])
    atoms = {a for d in dims for a in leaves(space, d) if space.size(a) > 1} - set(space.frozen())
    kept = {a: sorted(rng.sample(range(space.size(a)), rng.randint(0, space.size(a)))) for a in atoms}
    masks = [mask(space, d, kept) for d in dims]
    for kind, whole, parts in relations:
        if kind == "sum":
            assert masks[whole] == b"".join(masks[p] for p in parts)
        else:
            assert masks[whole] == bytes(all(bits) for bits in product(*(masks[p] for p in parts)))
    for a, b in ties:
        assert masks[a] == masks[b]
    counts = {a: len(k) for a, k in kept.items()}
    for dim, bits in zip(dims, masks, strict=True):
        assert size_at(space, dim, counts) == sum(bits)
        assert indices(space, dim, kept) == [i for i, bit in enumerate(bits) if bit]


@given(st.integers(0, 2**32))
def test_solution_does_not_depend_on_the_order_of_ties(seed: int) -> None:
    rng = random.Random(seed)
    sizes, relations, ties = _system(rng)
    steps = [*relations, *ties]
    expected = _signature(*_solve(sizes, steps))
    for _ in range(3):
        rng.shuffle(steps)
        assert _signature(*_solve(sizes, steps)) == expected


@given(st.integers(0, 2**32))
def test_solution_does_not_change_when_every_tie_is_said_again(seed: int) -> None:
    sizes, relations, ties = _system(random.Random(seed))
    steps = [*relations, *ties]
    assert _signature(*_solve(sizes, steps, repeat=2)) == _signature(*_solve(sizes, steps))


@given(st.integers(0, 2**32))
def test_sums_are_cut_no_finer_and_no_coarser_than_single_indices_demand(seed: int) -> None:
    """Oracle: union-find over single indices; each of its classes must be one (atom, unit), and back."""
    rng = random.Random(seed)
    sizes, relations, ties = _system(rng)
    relations = [r for r in relations if r[0] == "sum"]
    space, dims = _solve(sizes, [*relations, *ties])
    parent = {(d, i): (d, i) for d, size in enumerate(sizes) for i in range(size)}

    def root(x: tuple[int, int]) -> tuple[int, int]:
        while parent[x] != x:
            x = parent[x]
        return x

    for _, whole, parts in relations:
        joined = [(p, i) for p in parts for i in range(sizes[p])]
        for index, element in enumerate(joined):
            parent[root(element)] = root((whole, index))
    for a, b in ties:
        for index in range(sizes[a]):
            parent[root((a, index))] = root((b, index))
    by_class: dict[tuple[int, int], set] = {}
    for d, dim in enumerate(dims):
        for atom in leaves(space, dim):
            for labels in units(space, dim, atom):
                for index, unit in enumerate(labels):
                    if unit >= 0:
                        by_class.setdefault(root((d, index)), set()).add((atom, unit))
    assert all(len(found) == 1 for found in by_class.values())
    named = [next(iter(found)) for found in by_class.values()]
    assert len(set(named)) == len(named)


def test_product_of_unaligned_factors_is_frozen_and_says_why() -> None:
    space = Space()
    a, b, c, d = space.atoms((3, 4, 4, 3))
    space.tie(space.product(a, b), space.product(c, d))
    reasons = space.frozen()
    assert len(reasons) == 4
    assert all("(3, 4) over (4, 3)" in reason for reason in reasons.values())


def test_misaligned_digits_do_not_freeze_the_digits_around_them() -> None:
    space = Space()
    outer, a, b, inner = space.atoms((5, 3, 4, 7))
    outer2, c, d, inner2 = space.atoms((5, 4, 3, 7))
    space.tie(space.product(outer, a, b, inner), space.product(outer2, c, d, inner2))
    frozen = space.frozen()
    assert space.root(outer) == space.root(outer2)
    assert space.root(inner) == space.root(inner2)
    assert {space.root(outer), space.root(inner)}.isdisjoint(frozen)


@pytest.mark.parametrize(("n", "groups"), [(116, 2), (24, 3)])
def test_repeated_shuffle_and_halving_freezes_nothing(n: int, groups: int) -> None:
    space = Space()
    x = space.atom(n)
    for _ in range(4):
        left, right = space.split(x, (n // 2, n - n // 2))
        joined = space.sum(left, right)
        slow, fast = space.factor(joined, (groups, n // groups))
        x = space.product(fast, slow)
    assert not space.frozen()
    assert math.prod((1, space.size(x))) == n


def test_a_chain_of_many_thousand_ties_needs_no_recursion() -> None:
    space = Space()
    dim = start = space.atom(8)
    for _ in range(20_000):
        wide = space.product(dim, space.atom(2))
        dim = space.factor(wide, (8, 2))[0]
    assert space.root(dim) == space.root(start)
    nested = start
    for _ in range(3_000):
        nested = space.sum(nested, space.atom(1))
    assert len(leaves(space, nested)) == 3_001
    assert size_at(space, nested, {space.root(start): 3}) == 3_003
