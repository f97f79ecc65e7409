"""Names that a user may give in the place of objects, turned into them once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from penjing import criteria, devices
from penjing.criteria import Criterion
from penjing.devices import Device
from penjing.errors import PenjingError


def device_named(given: Device | str, threads: int) -> Device:
    """The device of that name; one that is no name is handed back.

    Raises:
        PenjingError: PJ401, there is none; PJ406, it cannot have so many threads; PJ409, its runtime is not
            installed; PJ410, a sheet is none.
    """
    if isinstance(given, Device):
        return given
    made = devices.DEVICES.get(given.partition(":")[0])
    timed = given.startswith(devices.REMOTE) or (isinstance(made, type) and issubclass(made, devices.Timed))
    return devices.get(given, threads=threads) if timed else devices.get(given)


def criterion_named(
    given: Criterion | str | None, data: Iterable[Any] | None, seed: int
) -> tuple[Criterion, str]:
    """The criterion, and what the report says of it; None stands for the best that the data allow.

    Raises:
        PenjingError: PJ301, there is none of that name.
    """
    if given == "random":
        return criteria.Random(seed=seed), f"random (seed {seed}), as asked"
    if given is not None:
        chosen = criteria.get(given)
        return chosen, f"{chosen.record.name}, as asked"
    if data is not None:
        return criteria.Obs(), "obs, the best that data allow"
    return criteria.Magnitude(), "magnitude, the best without data"


def checked_kind(name: str, given: object, *kinds: type, tries: Sequence[str]) -> None:
    """Makes sure that an argument is of one of the types there are for it.

    Raises:
        PenjingError: PJ106, it is of another.
    """
    if not isinstance(given, kinds):
        wanted = " or ".join(f"`{kind.__name__}`" for kind in kinds)
        raise PenjingError(
            "PJ106",
            f"`{name}` is given as {given!r:.60}, a `{type(given).__name__}`",
            because=f"it is {wanted}",
            tries=tries,
        )


def checked_choice(name: str, given: str | None, known: Sequence[str]) -> None:
    """Makes sure that an option is one of those there are.

    Raises:
        PenjingError: PJ306, it is not.
    """
    if given is not None and given not in known:
        raise PenjingError(
            "PJ306", f"there is no {name} `{given}`", tries=[f'{name}="{other}"' for other in known]
        )
