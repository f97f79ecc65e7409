"""A PyTorch module as an exported program (`.pt2`): what is shipped where no ONNX form exists."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from torch import nn

from penjing.devices.export import Artifact, exporting, quiet
from penjing.devices.feeds import array, outputs
from penjing.network.call import Call
from penjing.network.unstepped import unstepped


def to_program(model: nn.Module, call: Call, path: Path | str) -> Artifact:
    """Exports `model` in eval mode for the example inputs' sizes, and compares the program with it.

    Raises:
        Exception: whatever `torch.export` raises on a model that it refuses.
    """
    path = Path(path)
    call = call.copy()  # a view would take the whole of its storage along
    with exporting(model), quiet(), torch.no_grad():
        expected = outputs(call.run(model))
        with unstepped():
            program = torch.export.export(model, call.args, call.kwargs, strict=False)
        found = outputs(call.run(program.module()))
        content = io.BytesIO()  # on a full disk, torch's own writer ends the process
        torch.export.save(program, content)
    path.write_bytes(content.getbuffer())
    return Artifact.of_example(path, call, expected, [array(one) for one in found.values()], "pt2")
