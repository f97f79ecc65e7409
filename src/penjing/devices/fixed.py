"""Programs of PyTorch's own kinds, ready to run: made for the example's sizes, called on batches of any."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from penjing.devices.compare import Array
from penjing.devices.executorch import loaded
from penjing.devices.feeds import Feeds, array, outputs, tensors
from penjing.devices.package import Package
from penjing.devices.pieces import in_pieces, shared_size
from penjing.devices.refusal import existing, refused
from penjing.network.call import Call


class Fixed:
    """One artifact."""

    def __init__(self, name: str, call: Call, compute: Callable[[Call], Any]) -> None:
        """Runs it once, on the example.

        Args:
            name: what errors call it.
            call: the example inputs, of the sizes that it takes.
            compute: runs it on a call of those sizes.

        Raises:
            PenjingError: PJ405, it does not run.
        """
        self._name, self._call, self._compute = name, call, compute
        example = tensors(call)
        found = self._once([array(one) for one in example.values()])
        self._size = shared_size([*(one.shape for one in example.values()), *(one.shape for one in found)])

    @classmethod
    def program(cls, path: Path, call: Call) -> Fixed:
        """An exported program, `.pt2`."""
        existing(path)
        try:
            module = torch.export.load(path).module()
        except Exception as error:  # torch raises any type
            raise refused("PyTorch", str(path), error) from error
        return cls(str(path), call, lambda one: list(outputs(one.run(module)).values()))

    @classmethod
    def package(cls, path: Path, call: Call) -> Fixed:
        """Machine code by inductor, `.aoti.pt2`."""
        content = existing(path).read_bytes()
        try:
            package = Package(content)
        except Exception as error:  # likewise
            raise refused("AOTInductor", str(path), error) from error
        return cls(str(path), call, lambda one: list(outputs(package.run(one)).values()))

    @classmethod
    def executorch(cls, path: Path, call: Call, threads: int) -> Fixed:
        """An ExecuTorch program, `.pte`."""
        method = loaded(existing(path).read_bytes(), str(path), threads)
        return cls(str(path), call, lambda one: method(list(tensors(one).values())))

    def run(self, feeds: Feeds) -> list[Array]:
        """Outputs, in order.

        Raises:
            PenjingError: PJ405, the inputs do not fit.
        """
        return in_pieces(self._once, list(feeds.values()), self._size)

    def _once(self, given: list[Array]) -> list[Array]:
        rest = iter(given)

        def filled(leaf: Any) -> Any:  # strides, too, are the example's
            if not isinstance(leaf, Tensor):
                return leaf
            value = torch.from_numpy(next(rest))
            if value.shape != leaf.shape:
                raise ValueError(f"it takes {tuple(leaf.shape)}, not {tuple(value.shape)}")
            return torch.empty_like(leaf).copy_(value)

        try:
            with torch.inference_mode():
                found = self._compute(self._call.map(filled))
        except Exception as error:  # the runtimes raise any type
            raise refused("its runtime", self._name, error) from error
        return [array(one) for one in found if isinstance(one, Tensor)]
