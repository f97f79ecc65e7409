"""A PyTorch module as an hls4ml project: C++ for high-level synthesis, with its weights, in one zip file."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, fx, nn

from penjing.devices.compare import Array, apart
from penjing.devices.export import Artifact, exporting, own_words, quiet
from penjing.devices.feeds import array, feeds, outputs, tensors
from penjing.devices.hls.emulator import RECORD, Emulator
from penjing.devices.hls.folding import Folded
from penjing.devices.hls.precision import fixed, largest_values
from penjing.devices.hls.restate import refused, restated
from penjing.devices.silence import silent
from penjing.errors import PenjingError
from penjing.network.call import Call

NAME: Final = "network"
"""Of the project and of its top function."""

_RESTATED: Final = 1e-3  # beyond rounding of float32: it was written down wrongly
_WRONG: Final = 0.1  # beyond rounding to 12 bits or more: hls4ml made another function
_FEW_BITS: Final = 12
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip file can say


@dataclass(frozen=True)
class Style:
    """How a network is built.

    Attributes:
        bits: of weights and of activations.
        multipliers: of one layer, at most.
        clock_mhz: of the design.
        part: the FPGA, as Vitis HLS calls it.
    """

    bits: int
    multipliers: int
    clock_mhz: float
    part: str


def to_project(
    model: nn.Module,
    call: Call,
    path: Path | str,
    style: Style,
    *,
    calibration: Sequence[Call] = (),
    emulated: bool = True,
) -> Artifact:
    """Converts `model` in eval mode, compiles the emulation with g++, and compares it with the model.

    Layers stream into one another (`io_stream`), with hls4ml's resource strategy. Numbers have fixed points:
    where each stands follows from the weights, and from the values that activations take on `calibration`.

    Args:
        model: left as it was.
        call: the example inputs; the first dimension is the batch, whatever its size.
        path: where to write the zip file; nothing is left there when the conversion fails.
        style: how to build it.
        calibration: calls of the example's sizes; the example alone where there is none.
        emulated: whether to; the artifact's `agreement` is that of the plain layers in float32 else.

    Raises:
        PenjingError: PJ402, hls4ml has no layer for an operator, or refuses the model; PJ403, the emulation
            computes something else; PJ405, g++ refuses the project.
    """
    path = Path(path)
    with exporting(model), torch.no_grad():
        expected = outputs(call.run(model))
    network = restated(model, call)
    plain = _checked(model, network, call)
    _checked(model, network, _made_up(call))  # an example of zeros tells little
    converted = _converted(model, network, call, style, calibration or (call,))
    record = {
        "inputs": [list(one.shape[1:]) for one in tensors(call).values()],
        "outputs": [list(one.shape[1:]) for one in expected.values()],
        "hls4ml": metadata.version("hls4ml"),
    }
    draft, worst = path.with_name(f".{path.name}.partial"), 0.0
    try:
        _written(converted, record, draft)
        found = plain
        if emulated:
            emulator = Emulator.of(draft.read_bytes(), str(path))
            found = emulator.run(feeds(call))
            seen = calibration[0] if calibration else call
            with exporting(model), torch.no_grad():
                there = [array(one) for one in outputs(seen.run(model)).values()]
            worst = apart(emulator.run(feeds(seen)), there)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    artifact = Artifact.of_example(path, call, expected, found, "hls.zip")
    if style.bits >= _FEW_BITS and not max(artifact.agreement, worst) <= _WRONG:
        path.unlink()
        raise _other(model, "its emulation")
    return artifact


def _checked(model: nn.Module, network: fx.GraphModule, call: Call) -> list[Array]:
    """The output of the plain layers.

    Raises:
        PenjingError: PJ403, it is another than the model's.
    """
    with exporting(model), torch.no_grad():
        wanted = [array(one) for one in outputs(call.run(model)).values()]
        found = [array(network(*tensors(call).values()))]
    if not apart(found, wanted) <= _RESTATED:
        raise _other(model, "written as plain layers, it")
    return found


def _made_up(call: Call) -> Call:
    """A call of the same shapes."""
    generator = torch.Generator().manual_seed(0)

    def drawn(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
            return leaf
        return torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype)

    return call.map(drawn)


def _other(model: nn.Module, what: str) -> PenjingError:
    return PenjingError(
        "PJ403",
        f"the hls4ml project of `{type(model).__name__}` computes something else on the example inputs",
        because=f"{what} is further from PyTorch than rounding explains",
        tries=["calibration data that look like the example inputs", "report the model"],
    )


def _converted(
    model: nn.Module, network: fx.GraphModule, call: Call, style: Style, calibration: Sequence[Call]
) -> Any:
    """hls4ml's graph of the network.

    Raises:
        PenjingError: PJ402, it refuses it.
    """
    shapes = [tuple(one.shape[1:]) for one in tensors(call).values()]
    largest = largest_values(network, calibration)
    try:
        with quiet(), silent():
            import hls4ml

            config = hls4ml.utils.config_from_pytorch_model(
                network, shapes, granularity="name", backend="Vitis",
                default_precision=fixed(1.0, style.bits), channels_last_conversion="internal",
                transpose_outputs=False,
            )  # fmt: skip
            config["Model"]["Strategy"] = "Resource"
            _tell(config["LayerName"], network, call, largest, style)
            return hls4ml.converters.convert_from_pytorch_model(
                network, hls_config=config, io_type="io_stream", backend="Vitis", project_name=NAME,
                output_dir=tempfile.gettempdir(), part=style.part, clock_period=1e3 / style.clock_mhz,
            )  # fmt: skip
    except Exception as error:  # hls4ml raises any type
        raise refused(model, own_words(error)) from error


def _tell(
    layers: dict[str, Any], network: fx.GraphModule, call: Call, largest: Mapping[str, float], style: Style
) -> None:
    """Precision and reuse factor, layer by layer."""
    made = dict(network.named_modules())
    shapes = _positions(network, call)
    for name, config in layers.items():
        config["Precision"] = given = dict(config.get("Precision", {}))
        given["result"] = fixed(largest.get(name, 0.0), style.bits)
        layer = made.get(name)
        given |= {what: fixed(float(held.abs().max()), style.bits) for what, held in _held(layer).items()}
        if not isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear):
            continue
        n_out, n_in = layer.weight.shape[0], layer.weight[0].numel()
        folded = Folded.within(n_in, n_out, shapes[name], style.multipliers)
        config["ReuseFactor"] = folded.reuse_factor


def _held(layer: nn.Module | None) -> dict[str, Tensor]:
    """What a layer holds, as hls4ml names it."""
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
        assert layer.running_mean is not None
        assert layer.running_var is not None
        scale = layer.weight / (layer.running_var + layer.eps).sqrt()
        return {"scale": scale, "bias": layer.bias - layer.running_mean * scale}
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear):
        return {"weight": layer.weight, **({} if layer.bias is None else {"bias": layer.bias})}
    return {}


def _positions(network: fx.GraphModule, call: Call) -> dict[str, int]:
    """How many positions the output of every layer has."""
    found: dict[str, int] = {}

    class Sizes(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            if n.op == "call_module":
                channels = value.shape[-1] if isinstance(self.module_of(n), nn.Linear) else value.shape[1]
                found[n.name] = value[0].numel() // max(1, channels)
            return value

        def module_of(self, n: fx.Node) -> Any:
            return self.fetch_attr(str(n.target))

    with torch.no_grad():
        Sizes(network).run(*tensors(call).values())
    return found


def _written(converted: Any, record: Mapping[str, Any], path: Path) -> None:
    """The project as a zip file, the same for the same network: no stamp, no path, no time.

    Its `hls4ml_config.yml` is left out: it holds the network as pickled Python.
    """
    with tempfile.TemporaryDirectory(prefix="penjing-hls-") as folder:
        with quiet(), silent():
            converted.config.config["OutputDir"] = folder
            converted.write()
        stamp = str(converted.config.get_config_value("Stamp"))
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for one in sorted(Path(folder).rglob("*")):
                if one.is_file() and one.name != "hls4ml_config.yml" and ".tar" not in one.suffixes:
                    content = one.read_bytes().replace(stamp.encode(), b"penjing")
                    _add(file, str(one.relative_to(folder)), content)
            _add(file, RECORD, json.dumps(record, indent=1).encode())


def _add(file: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = (0o755 if name.endswith(".sh") else 0o644) << 16
    file.writestr(entry, content)
