"""The plan: what is to be removed, as data that prints, diffs and survives JSON."""

from __future__ import annotations

from itertools import pairwise

from pydantic import BaseModel, ConfigDict, field_validator

Units = tuple[int, ...]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AxisChange(_Record):
    """How one axis differs between two plans.

    Attributes:
        lost: units that the first keeps and the second does not.
        gained: units that the second keeps and the first does not. None of both where only one plan names
            the axis and its size is not known.
        before: how many units the first keeps; None for all.
        after: how many the second keeps; None for all.
    """

    lost: Units
    gained: Units
    before: int | None
    after: int | None


class PlanDiff(_Record):
    """What separates two plans; false where nothing does.

    Attributes:
        axes: by name, those that differ.
        dropped: branches that only the second drops.
        restored: branches that only the first drops.
    """

    axes: dict[str, AxisChange]
    dropped: tuple[str, ...]
    restored: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.axes or self.dropped or self.restored)

    def __str__(self) -> str:
        width = max(map(len, self.axes), default=0)
        lines = [
            f"{name:<{width}}  {_count(change.before)} -> {_count(change.after)}"
            + (f"  - {spans(change.lost)}" if change.lost else "")
            + (f"  + {spans(change.gained)}" if change.gained else "")
            for name, change in self.axes.items()
        ]
        lines += [f"drops {name}" for name in self.dropped] + [f"restores {name}" for name in self.restored]
        return "\n".join(lines) or "no difference"


class Plan(_Record):
    """Kept units per axis, and branches that go as a whole.

    Attributes:
        kept: axis name -> indices of the units that stay, in order. Axes that are not named keep all.
        dropped: names of residual branches to drop.
        sizes: axis name -> how many units it has in the original, for those in `kept` where it is known.
    """

    kept: dict[str, Units] = {}
    dropped: tuple[str, ...] = ()
    sizes: dict[str, int] = {}

    @field_validator("kept")
    @classmethod
    def _in_order(cls, kept: dict[str, Units]) -> dict[str, Units]:
        for name, units in kept.items():
            if not units:
                raise ValueError(f"{name} keeps no unit: an axis cannot vanish")
            if units[0] < 0 or any(a >= b for a, b in pairwise(units)):
                raise ValueError(f"{name}: kept units are indices from 0 in increasing order, each once")
        return kept

    def counts(self) -> dict[str, int]:
        """How many units each axis in `kept` keeps."""
        return {name: len(units) for name, units in self.kept.items()}

    def diff(self, other: Plan) -> PlanDiff:
        """What changes from this plan to `other`."""
        found: dict[str, AxisChange] = {}
        for name in sorted({*self.kept, *other.kept}):
            size = self.sizes.get(name, other.sizes.get(name))
            whole = tuple(range(size)) if size is not None else ()
            one, two = self.kept.get(name), other.kept.get(name)
            before, after = set(whole if one is None else one), set(whole if two is None else two)
            if size is None and (one is None or two is None):
                before, after = set(), set()
            elif before == after:
                continue
            found[name] = AxisChange(
                lost=tuple(sorted(before - after)),
                gained=tuple(sorted(after - before)),
                before=None if one is None else len(one),
                after=None if two is None else len(two),
            )
        return PlanDiff(
            axes=found,
            dropped=tuple(sorted(set(other.dropped) - set(self.dropped))),
            restored=tuple(sorted(set(self.dropped) - set(other.dropped))),
        )

    def __str__(self) -> str:
        if not self.kept and not self.dropped:
            return "nothing is removed"
        width = max(map(len, self.kept), default=0)
        lines = [
            f"{name:<{width}}  {len(units):>5}"
            + (f" of {self.sizes[name]:<5}" if name in self.sizes else "")
            + f"  {spans(units)}"
            for name, units in self.kept.items()
        ]
        return "\n".join([*lines, *(f"drops {name}" for name in self.dropped)])


def spans(units: Units, *, width: int = 60) -> str:
    """Indices as `0-3 7 9-12`, cut off with `...` beyond `width` characters."""
    starts = [unit for unit in units if unit - 1 not in set(units)]
    ends = [unit for unit in units if unit + 1 not in set(units)]
    parts = [str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True)]
    text = " ".join(parts)
    return text if len(text) <= width else text[:width].rsplit(" ", 1)[0] + " ..."


def _count(count: int | None) -> str:
    return "all" if count is None else str(count)
