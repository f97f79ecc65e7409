"""A PyTorch module as a LiteRT file (`.tflite`), in float32 or in int8."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from penjing.devices.export import Artifact, exporting, own_words, quiet
from penjing.devices.feeds import feeds, outputs, tensors
from penjing.devices.interpreter import Interpreter
from penjing.devices.silence import silent
from penjing.errors import PenjingError
from penjing.network.call import Call
from penjing.network.unstepped import unstepped

Precision = Literal["float32", "int8"]

_WRONG: Final = 1e-2  # beyond any rounding of float32: the converter made another function


def to_tflite(
    model: nn.Module,
    call: Call,
    path: Path | str,
    *,
    precision: Precision = "float32",
    calibration: Sequence[Call] = (),
) -> Artifact:
    """Converts `model` in eval mode for the example's sizes, and compares the file with it.

    In int8, weights have a scale per output channel and activations one per tensor, which follows from the
    values that they take on `calibration`; inputs and outputs are int8, too.

    Args:
        model: left as it was.
        call: the example inputs.
        path: where to write; nothing is left there when the conversion fails.
        precision: of weights and activations.
        calibration: calls of the example's sizes, for int8; the example alone where there is none.

    Raises:
        PenjingError: PJ402, the converter or the quantiser refuses the model; PJ403, the float32 file
            computes something else; PJ405, LiteRT refuses it.
    """
    path = Path(path)
    with exporting(model), torch.no_grad():
        expected = outputs(call.run(model))
        content = _converted(model, call)
        if precision == "int8":
            content = _quantised(model, content, [feeds(one) for one in calibration or (call,)])
    draft = path.with_name(f".{path.name}.partial")
    draft.write_bytes(content)
    try:
        found = Interpreter(draft).run(feeds(call))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    artifact = Artifact.of_example(path, call, expected, found, "tflite")
    if precision == "float32" and not artifact.agreement <= _WRONG:
        path.unlink()
        raise PenjingError(
            "PJ403",
            f"the LiteRT file of `{type(model).__name__}` computes something else on the example inputs",
            because=f"more than {_WRONG:.0%} of the largest output apart from PyTorch's",
            tries=["report the model: the converter translates one of its operators wrongly"],
        )
    return artifact


class _Flat(nn.Module):
    """A model that takes and gives its tensors one by one, in the order in which they are named."""

    def __init__(self, model: nn.Module, call: Call) -> None:
        super().__init__()
        self.model = model
        self._leaves, self._structure = pytree.tree_flatten((call.args, call.kwargs))

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        rest = iter(given)
        leaves = [next(rest) if isinstance(leaf, Tensor) else leaf for leaf in self._leaves]
        args, kwargs = pytree.tree_unflatten(leaves, self._structure)
        return tuple(outputs(self.model(*args, **kwargs)).values())


def _converted(model: nn.Module, call: Call) -> bytes:
    """The float32 file.

    Raises:
        PenjingError: PJ402, the converter refuses the model.
    """
    flat = _Flat(model, call).eval()
    try:
        with quiet(), silent(), unstepped():
            import litert_torch

            content: bytes = litert_torch.convert(flat, tuple(tensors(call).values())).model_content()
    except Exception as error:  # the converter raises any type
        raise _refused(model, own_words(error)) from error
    return content


def _quantised(model: nn.Module, content: bytes, samples: Sequence[dict[str, Any]]) -> bytes:
    """The file in int8, with ranges from the samples.

    Raises:
        PenjingError: PJ402, the quantiser refuses it.
    """
    try:
        with quiet(), silent():
            from ai_edge_quantizer import quantizer, recipe

            given = [
                {f"args_{number}": np.ascontiguousarray(value) for number, value in enumerate(one.values())}
                for one in samples
            ]
            tool = quantizer.Quantizer(content)
            tool.load_quantization_recipe(recipe.static_wi8_ai8())
            ranges = tool.calibrate({"serving_default": given})
            made: bytes = tool.quantize(ranges).quantized_model
    except Exception as error:  # likewise
        raise _refused(model, f"in int8: {own_words(error)}") from error
    return bytes(made)


def _refused(model: nn.Module, because: str) -> PenjingError:
    return PenjingError(
        "PJ402",
        f"`{type(model).__name__}` has no LiteRT form",
        because=because,
        tries=["replace the operator that the converter names", "--device cpu, which runs ONNX"],
    )
