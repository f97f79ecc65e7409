"""Integers that the user's code found unequal, and that must not come to be equal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from penjing.surgery.tracked import Leaf, Origin, Tracked, expression_of, origins
from penjing.surgery.watch import Watch


def kept_apart(values: Mapping[Origin, int], watch: Watch) -> dict[Origin, int]:
    """`values`, and one for each attribute that nothing decides but a comparison (`if self.dim != self.out`).

    It becomes what others of its old value in the same module became; failing that, anything else.
    """
    found = dict(values)
    old = {leaf.origin: leaf.value for leaf in _leaves(watch)}
    for left, right in watch.unequal:
        sides = [side for side in map(_attribute, (left, right)) if side is not None]
        free = [side for side in sides if side.origin not in found]
        now = [found.get(side.origin, side.value) for side in sides]
        if free and len(sides) == 2 and now[0] == now[1]:
            found[free[0].origin] = _another(free[0], now[0], found, old)
    return found


def _attribute(number: object) -> Leaf | None:
    """The attribute that `number` is, if it is one as it stands."""
    made = number.expression if isinstance(number, Tracked) else None
    return made if isinstance(made, Leaf) and made.origin[0] == "attribute" else None


def _another(leaf: Leaf, taken: int, values: Mapping[Origin, int], old: Mapping[Origin, int]) -> int:
    path = leaf.origin[1]
    alike = Counter(
        value
        for origin, value in values.items()
        if old.get(origin) == leaf.value
        and value != taken
        and (not path or origin[1] == path or origin[1].startswith(f"{path}."))
    )
    return alike.most_common(1)[0][0] if alike else taken + 1


def _leaves(watch: Watch) -> Iterator[Leaf]:
    for sighting in watch.sightings:
        for number in sighting.numbers.values():
            if isinstance(number, Tracked):
                yield from origins(expression_of(number))
