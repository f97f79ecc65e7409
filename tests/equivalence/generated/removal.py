"""Can this slice be removed? What must go with it is found by perturbing; what is left is then run.

A removal is a set of slices (value, dimension, index), closed under three rules, each checked by perturbing:

* an element of an output goes where all that it reads of some argument is gone;
* a slice of an input goes where all that it reaches is gone;
* in a sum of products, what is only ever multiplied by something gone goes too.

Where that asks for elements that are no whole slices, each dimension is tried in which slices cover them. A
removal stands if it touches no input and no output of the network, empties nothing, and every operator, run
on what is left with its integers adapted, gives what it gave before (in sums, with zeros for what is gone).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tests.equivalence.generated.reach import Flags, Reach, Removed, removed_elements
from tests.equivalence.generated.replay import Fit, UnfitError, fit
from tests.equivalence.generated.tape import Tape

Slice = tuple[int, int, int]
State = dict[tuple[int, int], Flags]
_BRANCHES = 6
"""How many alternatives are followed at most."""


@dataclass(frozen=True)
class Removal:
    """A removal that stands: what goes, and how the operators that it touches are called then."""

    removed: Removed
    fits: dict[int, Fit]

    def slices(self, tape: Tape, names: set[str]) -> set[tuple[str, int, int]]:
        """The removed slices of the named tensors."""
        return {
            (name, dim, int(index))
            for name, value in tape.parameters.items()
            if name in names
            for dim in range(tape.values[value].dim())
            for index in np.flatnonzero(self.removed.get((value, dim), ()))
        }


class Judge:
    """Decides for one network what can be removed."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.reach = Reach(tape)
        self._ends = {*tape.inputs, *tape.outputs}

    def removal(self, seeds: set[Slice]) -> Removal | str:
        """The first removal found that contains the seeds, or why there is none."""
        why = "nothing to remove"
        for number, state in enumerate(self._closures(seeds)):
            if isinstance(state, str):
                why = state
            else:
                try:
                    return Removal(state, self._fit(state))
                except UnfitError as unfit:
                    why = str(unfit)
            if number >= _BRANCHES:
                break
        return why

    def _closures(self, seeds: set[Slice]) -> Iterator[State | str]:
        """Closed sets that contain the seeds; a string for each branch that ends in a contradiction."""
        start: State = {}
        branches: list[tuple[State, set[int]]] = []
        problem = self._add(start, seeds)
        if problem:
            yield problem
            return
        branches.append((start, self._touched(seeds)))
        while branches:
            state, waiting = branches.pop()
            problem = ""
            queue, unsure = deque(sorted(waiting)), set()
            while (queue or unsure) and not problem:
                certain = bool(queue)  # what leaves no choice comes first: it may decide the rest
                place = queue.popleft() if certain else unsure.pop()
                options = self._demands(place, state)
                if not options:
                    continue
                if certain and len(options) > 1:
                    unsure.add(place)
                    continue
                for option in reversed(options[1:]):
                    other = {key: mask.copy() for key, mask in state.items()}
                    if not self._add(other, option):
                        branches.append((other, {*unsure, *self._touched(option)}))
                problem = self._add(state, options[0])
                queue.extend(sorted(self._touched(options[0]) - set(queue)))
            yield problem or state

    def _touched(self, slices: set[Slice]) -> set[int]:
        return {place for value, _, _ in slices for place in self.tape.readers.get(value, ())}

    def _add(self, state: State, slices: set[Slice]) -> str:
        """Adds slices to a state; the reason why that is impossible, or nothing."""
        for value, dim, index in slices:
            if value in self._ends:
                return "reaches an input" if value in self.tape.inputs else "reaches an output"
            if dim < 0:
                return "leaves nothing of a number"
            mask = state.setdefault((value, dim), np.zeros(self.tape.values[value].shape[dim], dtype=bool))
            mask[index] = True
            if mask.all():
                return "leaves nothing of a tensor"
        return ""

    def _demands(self, place: int, state: State) -> list[set[Slice]]:
        """What operator `place` asks to remove besides: alternatives, each a set; none if it is content."""
        entry = self.tape.entries[place]
        gone_out = [removed_elements(self.tape, made, state) for made in entry.makes]
        gone = np.concatenate([one.ravel() for one in gone_out]) if gone_out else np.zeros(0, dtype=bool)
        starved = self.reach.starved(place, state) & ~gone
        if starved.any():
            start = 0
            for made, one in zip(entry.makes, gone_out, strict=True):
                here = starved[start : start + one.size].reshape(one.shape)
                if here.any():
                    return self._cover(made, here | one)
                start += one.size
        back = self.reach.useless(place, gone) if gone.any() else set()
        back = {
            (value, dim, index) for value, dim, index in back if not self._known(state, value, dim, index)
        }
        back = back or self.reach.partners(place, state, gone)
        return [back] if back else []

    def _known(self, state: State, value: int, dim: int, index: int) -> bool:
        mask = state.get((value, dim))
        return mask is not None and bool(mask[index])

    def _cover(self, value: int, wanted: Flags) -> list[set[Slice]]:
        """The slices whose union is just the wanted elements; else, by dimension, those they lie in."""
        if not wanted.ndim:
            return [{(value, -1, 0)}]
        exact: set[Slice] = set()
        covered = np.zeros_like(wanted)
        for dim in range(wanted.ndim):
            whole = wanted.all(axis=tuple(d for d in range(wanted.ndim) if d != dim))
            exact |= {(value, dim, int(index)) for index in np.flatnonzero(whole)}
            covered |= whole.reshape([-1 if d == dim else 1 for d in range(wanted.ndim)])
        left = wanted & ~covered
        if not left.any():
            return [exact]
        options = []
        for dim in range(wanted.ndim):
            hit = left.any(axis=tuple(d for d in range(wanted.ndim) if d != dim))
            if not hit.all():
                options.append(exact | {(value, dim, int(index)) for index in np.flatnonzero(hit)})
        return sorted(options, key=len) or [{(value, 0, index) for index in range(wanted.shape[0])}]

    def _fit(self, state: State) -> dict[int, Fit]:
        """How every operator is called after the removal; raises `UnfitError` where there is no way."""
        places = sorted({place for value, _ in state for place in self.tape.readers.get(value, ())})
        return {place: fit(self.tape, place, state) for place in places}
