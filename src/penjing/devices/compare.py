"""How far an exported file is from the module it was made of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from penjing.devices.feeds import array, feeds
from penjing.devices.session import Session
from penjing.network.call import Call


def agreement(path: Path, call: Call, expected: Mapping[str, Tensor]) -> float:
    """The largest difference of the file's outputs from `expected`, relative to the largest of these.

    Infinite where shapes differ, or where one is finite and the other is not.

    Raises:
        PenjingError: PJ405, ONNX Runtime refuses the file or the inputs.
    """
    found = Session(path).run(feeds(call))
    wanted = [array(tensor) for tensor in expected.values()]
    if [result.shape for result in found] != [result.shape for result in wanted]:
        return float("inf")
    largest = apart = 0.0
    for got, want in zip(found, wanted, strict=True):
        ours, theirs = got.astype(np.float64), want.astype(np.float64)
        finite = np.isfinite(theirs)
        if not np.array_equal(ours[~finite], theirs[~finite], equal_nan=True):
            return float("inf")
        largest = max(largest, float(np.abs(theirs[finite]).max(initial=0.0)))
        apart = max(apart, float(np.abs(ours[finite] - theirs[finite]).max(initial=0.0)))
    return apart / largest if largest else apart
