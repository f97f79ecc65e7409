"""A network compiled ahead of time by inductor, in one file: PyTorch's `.pt2` package of machine code."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from penjing.devices.feeds import tensors
from penjing.devices.pytorch import threads
from penjing.devices.silence import silent
from penjing.network.call import Call
from penjing.network.unstepped import unstepped

# Weights are constants, so that layouts and batch norms are settled beforehand: the demo's network is a fifth
# quicker. Without line tables its file is 1.1 MB smaller, and compiled in 7 s instead of 10: same code.
OPTIONS: Final[Mapping[str, Any]] = {"freezing": True, "aot_inductor.enable_line_tables": False}
"""Of inductor, beside the number of threads."""

_INPUTS, _THREADS = "penjing.inputs", "penjing.threads"


def compiled(model: nn.Module, call: Call, count: int) -> bytes:
    """Exports and compiles `model`, which is in eval mode, for the example's sizes and `count` threads.

    The code reads its inputs without looking at their sizes: these are written down beside it.

    Raises:
        Exception: whatever `torch.export`, inductor or the C++ compiler raises.
    """
    from torch._inductor import aoti_compile_and_package

    noted = {_INPUTS: json.dumps(_described(tensors(call))), _THREADS: str(count)}
    options = {**OPTIONS, "cpp.threads": count, "aot_inductor.metadata": noted}
    content = io.BytesIO()
    with silent(), unstepped(), threads(count), torch.no_grad():
        program = torch.export.export(model, call.args, call.kwargs, strict=False)
        aoti_compile_and_package(program, package_path=content, inductor_configs=options)
    return content.getvalue()


class Package:
    """Such a file, loaded."""

    def __init__(self, content: bytes) -> None:
        """Loads what `compiled` gave.

        Raises:
            Exception: whatever PyTorch raises on a file that is none, or not for this machine.
        """
        from torch._inductor import aoti_load_package

        with silent():
            self._model = aoti_load_package(io.BytesIO(content))
        noted = self._model.get_metadata()
        self._inputs: list[list[Any]] = json.loads(noted[_INPUTS])
        self.threads = int(noted[_THREADS])

    def run(self, call: Call) -> Any:
        """What the model returns.

        Raises:
            ValueError: the inputs have other sizes.
        """
        self.given(call)
        return self._model(*call.args, **call.kwargs)

    def given(self, call: Call | None) -> list[Tensor]:
        """The inputs as the file takes them; made up where there is no call: normal numbers, zero indices.

        Raises:
            ValueError: the inputs have other names, types, sizes or strides than the file was compiled for.
        """
        if call is None:
            return [_made_up(*described) for _, *described in self._inputs]
        found = tensors(call)
        if _described(found) != self._inputs:
            raise ValueError(f"it was compiled for {self._inputs}, and is given {_described(found)}")
        return list(found.values())

    def compute(self, given: list[Tensor]) -> list[Tensor]:
        """Runs on inputs that `given` gave.

        The loader's own call, without what a call from Python adds every time: 60 microseconds of reading its
        description of arguments.
        """
        found: list[Tensor] = self._model.loader.run(given)
        return found


def _described(named: Mapping[str, Tensor]) -> list[list[Any]]:
    """Names, types, sizes and strides, as data."""
    return [
        [name, str(one.dtype).removeprefix("torch."), list(one.shape), list(one.stride())]
        for name, one in named.items()
    ]


def _made_up(kind: str, shape: list[int], stride: list[int]) -> Tensor:
    empty = torch.empty_strided(shape, stride, dtype=getattr(torch, kind))
    if not empty.is_floating_point():
        return empty.zero_()
    return empty.normal_(generator=torch.Generator().manual_seed(0))
