"""The CPU of this machine, through code that PyTorch's inductor compiles ahead of time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from penjing.devices.export import Artifact, exporting, own_words, quiet
from penjing.devices.feeds import array, outputs
from penjing.devices.form import Form
from penjing.devices.package import OPTIONS, Package, compiled
from penjing.devices.pytorch import PyTorch
from penjing.devices.refusal import existing, refused
from penjing.devices.silence import silent
from penjing.devices.single import Single
from penjing.devices.timed import Job
from penjing.errors import PenjingError
from penjing.network import Call

_RUNTIME = "AOTInductor"


@dataclass(frozen=True)
class Inductor(PyTorch):
    """PyTorch's inductor on this machine's CPU, in float32: what is timed is `model.aoti.pt2`.

    The file holds machine code for processors like this one, for so many threads and for the sizes of the
    example inputs; `torch._inductor.aoti_load_package` runs it.
    """

    name: ClassVar[str] = "inductor"
    summary: ClassVar[str] = "this machine's CPU through PyTorch, compiled by inductor, timed"
    form: ClassVar[Form] = "aoti.pt2"

    @classmethod
    def missing(cls) -> str:
        """A C++ compiler, where there is none by the name that inductor will call."""
        name = _compiler()
        return super().missing() or ("" if shutil.which(name) else f"a C++ compiler (`{name}`)")

    @classmethod
    def install(cls) -> str:
        """It comes with the system."""
        return "install g++ (`apt install g++`), or name another C++ compiler in CXX"

    @property
    def runtime(self) -> str:
        """Versions of PyTorch and of the compiler that its code goes through."""
        asked = subprocess.run([_compiler(), "--version"], capture_output=True, text=True, check=False)
        return f"{super().runtime} inductor, {asked.stdout.partition(chr(10))[0]}"

    def export(
        self, model: nn.Module, call: Call, path: Path, *, calibration: Sequence[Call] = ()
    ) -> Artifact:
        """An `.aoti.pt2` file; `calibration` is not needed for it."""
        call = call.copy()
        with exporting(model), quiet(), torch.no_grad():
            expected = outputs(call.run(model))
            try:
                content = compiled(model, call, self.threads)
            except Exception as error:  # torch.export and inductor raise any type
                raise PenjingError(
                    "PJ402",
                    f"`{type(model).__name__}` has no compiled form",
                    because=own_words(error),
                    tries=["replace the operator that it names", "--device torch", "--device cpu"],
                ) from error
            try:
                found = outputs(Package(content).run(call))
            except Exception as error:  # torch raises any type
                raise refused(_RUNTIME, str(path), error) from error
        path.write_bytes(content)
        return Artifact.of_example(path, call, expected, [array(one) for one in found.values()], self.form)

    def job(self, artifact: Path, call: Call | None) -> Job:
        """The file's code, loaded and run once."""
        content = existing(artifact).read_bytes()
        try:
            with quiet():
                package = Package(content)
            if package.threads != self.threads:
                raise ValueError(f"it was compiled for {package.threads} threads, not {self.threads}")
            given = package.given(call and call.copy())
            with silent(), torch.inference_mode():
                package.compute(given)
        except Exception as error:  # torch raises any type
            raise refused(_RUNTIME, str(artifact), error) from error

        def job() -> object:
            with torch.inference_mode():
                return package.compute(given)

        return job

    def single(self, single: Single) -> Job:
        """The operator, compiled into this process by the same passes: a second where a file takes seven.

        Images have their channels last, as they have between the convolutions of a compiled network.
        """
        from torch import _inductor

        x = torch.randn(single.shape)
        x = x.to(memory_format=torch.channels_last) if x.ndim == 4 else x
        options = {name: value for name, value in OPTIONS.items() if not name.startswith("aot_inductor.")}
        with quiet(), silent(), torch.no_grad():
            graph = torch.export.export(single.layer(), (x,)).module()
            run = _inductor.compile(graph, [x], options={**options, "cpp.threads": self.threads})

        def job() -> object:
            with torch.inference_mode():
                return run(x)

        job()
        return job


def _compiler() -> str:
    """What inductor calls, by the rule of its `config.cpp.cxx`: loading that takes a second."""
    return os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
