"""The CPU of this machine, through ExecuTorch and XNNPACK."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from torch.utils import _pytree as pytree

from penjing.devices.export import Artifact, exporting, own_words, quiet
from penjing.devices.feeds import array, outputs
from penjing.devices.form import Form
from penjing.devices.refusal import existing, refused
from penjing.devices.silence import silent
from penjing.devices.single import Single
from penjing.devices.timed import Job, Timed
from penjing.errors import PenjingError
from penjing.network import Call
from penjing.network.unstepped import unstepped

_RUNTIME = "ExecuTorch"


@dataclass(frozen=True)
class ExecuTorch(Timed):
    """ExecuTorch on this machine's CPU, in float32: what XNNPACK does not take runs on portable kernels."""

    name: ClassVar[str] = "executorch"
    summary: ClassVar[str] = "this machine's CPU through ExecuTorch and XNNPACK, timed"
    package: ClassVar[str] = "executorch"
    module: ClassVar[str] = "executorch"
    extra: ClassVar[str] = "executorch"
    form: ClassVar[Form] = "pte"

    def export(
        self, model: nn.Module, call: Call, path: Path, *, calibration: Sequence[Call] = ()
    ) -> Artifact:
        """A `.pte` file; `calibration` is not needed for it."""
        return to_executorch(model, call, path)

    def job(self, artifact: Path, call: Call | None) -> Job:
        """The file's method, loaded and run once."""
        return _method(existing(artifact).read_bytes(), str(artifact), self.threads, call)

    def single(self, single: Single) -> Job:
        """The operator as a program of its own."""
        call = Call((torch.randn(single.shape),))
        return _method(_program(single.layer(), call), "the model", self.threads, call)


def to_executorch(model: nn.Module, call: Call, path: Path) -> Artifact:
    """Lowers `model` in eval mode for the example's sizes to XNNPACK, and compares the program with it.

    Raises:
        PenjingError: PJ402, ExecuTorch refuses the model; PJ405, its runtime does.
    """
    with exporting(model), torch.no_grad():
        expected = outputs(call.run(model))
        try:
            content = _program(model, call)
        except Exception as error:  # torch.export and the lowering raise any type
            raise PenjingError(
                "PJ402",
                f"`{type(model).__name__}` has no ExecuTorch form",
                because=own_words(error),
                tries=["replace the operator that it names", "--device cpu, which runs ONNX"],
            ) from error
    found = _method(content, str(path), 1, call)()
    path.write_bytes(content)
    results = [array(one) for one in found if isinstance(one, torch.Tensor)]  # type: ignore[attr-defined]
    return Artifact.of_example(path, call, expected, results, "pte")


def _program(model: nn.Module, call: Call) -> bytes:
    call = call.copy()
    with quiet(), silent(), unstepped(), torch.no_grad():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        exported = torch.export.export(model.eval(), call.args, call.kwargs, strict=False)
        lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
        content: bytes = lowered.to_executorch().buffer
    return content


def loaded(content: bytes, name: str, threads: int) -> Callable[[list[Any]], Any]:
    """The file's method: outputs of inputs, in order.

    Raises:
        PenjingError: PJ405, ExecuTorch refuses the file.
    """
    try:
        with quiet(), silent():
            from executorch.extension.pybindings import portable_lib
            from executorch.runtime import Runtime

            portable_lib._unsafe_reset_threadpool(threads)
            program: Any = Runtime.get().load_program(content)
            method = program.load_method("forward")
    except Exception as error:  # the runtime raises RuntimeError and its own
        raise refused(_RUNTIME, name, error) from error
    # The program is held, too: a method does not keep it alive.
    return lambda given: (program, method.execute(given))[1]


def _method(content: bytes, name: str, threads: int, call: Call | None) -> Job:
    """The method as a job, run once already."""
    method = loaded(content, name, threads)
    try:
        with silent():
            assert call is not None, "the sizes of its inputs are not in the file"
            given = [leaf for leaf in pytree.tree_leaves((call.args, call.kwargs)) if leaf is not None]
            method(given)
    except Exception as error:  # likewise
        raise refused(_RUNTIME, name, error) from error
    return lambda: method(given)
