"""How far an exported file is from the module it was made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from penjing.devices.feeds import array, feeds
from penjing.devices.session import Session
from penjing.network.call import Call

Array = npt.NDArray[Any]


def agreement(path: Path, call: Call, expected: Mapping[str, Tensor]) -> float:
    """The largest difference of the file's outputs from `expected`, relative to the largest of these.

    Infinite where shapes differ, or where one is finite and the other is not.

    Raises:
        PenjingError: PJ405, ONNX Runtime refuses the file or the inputs.
    """
    return apart(Session(path).run(feeds(call)), [array(tensor) for tensor in expected.values()])


def apart(found: Sequence[Array], wanted: Sequence[Array]) -> float:
    """The largest difference of `found` from `wanted`, relative to the largest of these; as `agreement`."""
    if [result.shape for result in found] != [result.shape for result in wanted]:
        return float("inf")
    largest = worst = 0.0
    for got, want in zip(found, wanted, strict=True):
        wide = np.complex128 if np.iscomplexobj(want) else np.float64
        ours, theirs = got.astype(wide), want.astype(wide)
        finite = np.isfinite(theirs)
        if not np.array_equal(ours[~finite], theirs[~finite], equal_nan=True):
            return float("inf")
        largest = max(largest, float(np.abs(theirs[finite]).max(initial=0.0)))
        worst = max(worst, float(np.abs(ours[finite] - theirs[finite]).max(initial=0.0)))
    return worst / largest if largest else worst
