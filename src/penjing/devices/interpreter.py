"""LiteRT files, run on this machine's CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from penjing.devices.feeds import Feeds
from penjing.devices.pieces import in_pieces, shared_size
from penjing.devices.refusal import existing, refused
from penjing.devices.silence import silent

Array = npt.NDArray[Any]

_RUNTIME = "LiteRT"


class Interpreter:
    """One `.tflite` file, ready to run through XNNPACK.

    Values are those of the model: where the file takes or gives int8, they are scaled on the way.
    """

    def __init__(self, model: Path | bytes, *, threads: int = 1) -> None:
        """Loads `model`.

        Args:
            model: the file, or its content.
            threads: inside an operator.

        Raises:
            PenjingError: PJ404, there is no such file; PJ405, LiteRT refuses it.
        """
        from ai_edge_litert import interpreter

        self.name = str(model) if isinstance(model, Path) else "the model"
        content = existing(model).read_bytes() if isinstance(model, Path) else model
        try:
            with silent():
                self._inner: Any = interpreter.Interpreter(model_content=content, num_threads=threads)
                self._inner.allocate_tensors()
        except Exception as error:  # the runtime raises ValueError and RuntimeError
            raise refused(_RUNTIME, self.name, error) from error
        # Inputs are called serving_default_args_0, _1 ...: they may be listed in any order.
        self._inputs = sorted(self._inner.get_input_details(), key=lambda one: _number(one["name"]))
        self._outputs = sorted(self._inner.get_output_details(), key=lambda one: _number(one["name"]))

    def run(self, feeds: Feeds) -> list[Array]:
        """Outputs, in order.

        A larger batch than the file's is cut into pieces of that size, where all inputs and outputs begin
        with the batch; the last piece is filled up with copies of its last row.

        Raises:
            PenjingError: PJ405, LiteRT refuses the inputs.
        """
        return in_pieces(self._once, list(feeds.values()), self._batch())

    def job(self, feeds: Feeds | None = None) -> Callable[[], object]:
        """One run as a function without arguments, checked by running it; on made-up inputs without any."""
        random = np.random.default_rng(0)
        self._once(
            [random.standard_normal(entry["shape"]).astype(np.float32) for entry in self._inputs]
            if feeds is None
            else list(feeds.values())
        )
        run: Callable[[], object] = self._inner.invoke
        return run

    def _batch(self) -> int | None:
        """The first dimension that all inputs and outputs share."""
        return shared_size([entry["shape"] for entry in (*self._inputs, *self._outputs)])

    def _once(self, given: list[Array]) -> list[Array]:
        try:
            if len(given) != len(self._inputs):
                raise ValueError(f"it takes {len(self._inputs)} inputs, not {len(given)}")
            for entry, value in zip(self._inputs, given, strict=True):
                self._inner.set_tensor(entry["index"], _stored(entry, value))
            self._inner.invoke()
            return [_read(entry, self._inner.get_tensor(entry["index"])) for entry in self._outputs]
        except Exception as error:  # likewise
            raise refused(_RUNTIME, self.name, error) from error


def _stored(entry: dict[str, Any], value: Array) -> Array:
    """A value as the file takes it."""
    scale, zero = entry["quantization"]
    kind = entry["dtype"]
    if scale and np.issubdtype(kind, np.integer) and np.issubdtype(value.dtype, np.floating):
        limits = np.iinfo(kind)
        value = np.clip(np.round(value / scale) + zero, limits.min, limits.max)
    return np.asarray(value, dtype=kind, order="C")


def _read(entry: dict[str, Any], value: Array) -> Array:
    """What the file gave, as a value of the model."""
    scale, zero = entry["quantization"]
    if scale and np.issubdtype(value.dtype, np.integer):
        return np.asarray((value.astype(np.float32) - zero) * scale, dtype=np.float32)
    return np.array(value)


def _number(name: str) -> tuple[int, str]:
    """The last number in a name."""
    digits = [part for part in name.replace(":", "_").split("_") if part.isdigit()]
    return (int(digits[-1]) if digits else 0, name)
