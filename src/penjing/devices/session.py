"""ONNX Runtime sessions on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from warnings import catch_warnings, simplefilter

import numpy as np
import numpy.typing as npt
import onnxruntime

from penjing.devices.feeds import Feeds
from penjing.devices.refusal import existing, refused
from penjing.errors import PenjingError

_FATAL_ONLY = 4
_RUNTIME = "ONNX Runtime"

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"

_OPTIONS: Final = {CPU: {}, CUDA: {"use_tf32": "0"}}
"""Of each, so that it computes in float32."""


class Session:
    """One artifact, ready to run."""

    def __init__(
        self,
        model: Path | bytes,
        *,
        threads: int = 1,
        profile_prefix: Path | None = None,
        provider: str = CPU,
    ) -> None:
        """Loads and optimises `model`.

        Args:
            model: the file, or a serialised model.
            threads: inside an operator; operators run one after another.
            profile_prefix: where to write the times of every operator; None to take none.
            provider: what ONNX Runtime calls the processor; it is this one or none.

        Raises:
            PenjingError: PJ404, there is no such file; PJ405, ONNX Runtime refuses it; PJ409, it takes
                another processor.
        """
        name = str(model) if isinstance(model, Path) else "the model"
        if isinstance(model, Path):
            existing(model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL_ONLY
        if profile_prefix is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(profile_prefix)
        try:
            with catch_warnings():
                simplefilter("ignore")  # that it takes another provider is found below
                self._session = onnxruntime.InferenceSession(
                    model if isinstance(model, bytes) else str(model),
                    options,
                    providers=[(provider, _OPTIONS[provider])],
                )
            self._session.disable_fallback()
        except Exception as error:  # the runtime's exceptions share no public base
            raise refused(_RUNTIME, name, error) from error
        taken = self._session.get_providers()[0]
        if taken != provider:
            raise PenjingError(
                "PJ409",
                f"{_RUNTIME} takes {taken} for `{name}`, and not {provider}",
                because=f"it has {', '.join(onnxruntime.get_available_providers())}; what it has may lack a "
                "GPU, or libraries of the version that it is built for",
                tries=["penjing devices"],
            )
        self.name = name

    def run(self, feeds: Feeds) -> list[npt.NDArray[Any]]:
        """Outputs, in order.

        Raises:
            PenjingError: PJ405, ONNX Runtime refuses the inputs or an operator.
        """
        try:
            return list(self._session.run(None, feeds))
        except Exception as error:  # likewise
            raise refused(_RUNTIME, self.name, error) from error

    def job(self, feeds: Feeds) -> Callable[[], object]:
        """One run as a function without arguments, checked by running it."""
        self.run(feeds)
        run = self._session.run
        return lambda: run(None, feeds)

    def resident(self, feeds: Feeds, place: str) -> Callable[[], object]:
        """One run on inputs that lie where it computes, likewise; over when its outputs are there.

        Args:
            feeds: by name.
            place: what ONNX Runtime calls that memory: `cpu` or `cuda`.

        Raises:
            PenjingError: PJ405, ONNX Runtime refuses the inputs or an operator.
        """
        binding = self._session.io_binding()
        run = self._session.run_with_iobinding

        def job() -> object:
            run(binding)
            binding.synchronize_outputs()
            return binding

        try:
            for name, value in feeds.items():
                binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(value, place, 0))
            for entry in self._session.get_outputs():
                binding.bind_output(entry.name, place)
            job()
        except Exception as error:  # likewise
            raise refused(_RUNTIME, self.name, error) from error
        return job

    def end_profile(self) -> Path:
        """Closes the profile and returns its file."""
        return Path(self._session.end_profiling())

    def random_feeds(self) -> Feeds:
        """Inputs made up from the artifact's own shapes: normal numbers, zero indices, 1 for a free size."""
        random = np.random.default_rng(0)
        feeds: Feeds = {}
        for entry in self._session.get_inputs():
            shape = [size if isinstance(size, int) else 1 for size in entry.shape]
            kind = _NUMPY.get(entry.type)
            if kind is None:
                raise PenjingError("PJ405", f"`{self.name}` has an input `{entry.name}` of type {entry.type}")
            drawn = random.standard_normal(shape) if np.issubdtype(kind, np.floating) else np.zeros(shape)
            feeds[entry.name] = drawn.astype(kind)
        return feeds


_NUMPY: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
}
