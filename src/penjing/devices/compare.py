"""How far an exported file is from the module it was made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from torch import Tensor

from penjing.devices.feeds import array, feeds
from penjing.devices.session import Session
from penjing.network.call import Call

Array = npt.NDArray[Any]


SMALL: Final = 0.01
"""An output is judged by its own largest value, or by this share of the largest of all where that is more.

What is left of a sum that cancels out is as large as the rounding of its parts.
"""


def agreement(path: Path, call: Call, expected: Mapping[str, Tensor]) -> float:
    """The largest difference of the file's outputs from `expected`, relative to the largest of each.

    Infinite where shapes differ, or where one is finite and the other is not.

    Raises:
        PenjingError: PJ405, ONNX Runtime refuses the file or the inputs.
    """
    return apart(Session(path).run(feeds(call)), [array(tensor) for tensor in expected.values()])


def apart(found: Sequence[Array], wanted: Sequence[Array]) -> float:
    """The largest difference of `found` from `wanted`, relative to the largest of each; as `agreement`."""
    if [result.shape for result in found] != [result.shape for result in wanted]:
        return float("inf")
    whole = [np.issubdtype(want.dtype, np.integer) for want in wanted]
    sizes = [_largest(want) for want in wanted]
    top = max((size for size, integer in zip(sizes, whole, strict=True) if not integer), default=0.0)
    error = 0.0
    for got, want, size, integer in zip(found, wanted, sizes, whole, strict=True):
        wide = np.complex128 if np.iscomplexobj(want) else np.float64
        ours, theirs = got.astype(wide), want.astype(wide)
        finite = np.isfinite(theirs)
        if not np.array_equal(ours[~finite], theirs[~finite], equal_nan=True):
            return float("inf")
        worst = float(np.abs(ours[finite] - theirs[finite]).max(initial=0.0))
        scale = size if integer else max(size, SMALL * top)
        error = max(error, worst / scale if scale else worst)
    return error


def _largest(values: Array) -> float:
    """The largest finite magnitude."""
    wide = values.astype(np.complex128 if np.iscomplexobj(values) else np.float64)
    return float(np.abs(wide[np.isfinite(wide)]).max(initial=0.0))
