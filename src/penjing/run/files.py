"""What a run directory holds besides report and log: plan, recipe, weights, surgery, exports."""

from __future__ import annotations

import io
import json
import logging
import warnings
from pathlib import Path

import torch
from torch import nn

from penjing.network import Call, Network
from penjing.network.unstepped import unstepped
from penjing.run.inputs import FILE, save_inputs
from penjing.run.job import Job
from penjing.run.recipe import recipe_of
from penjing.run.search import Found
from penjing.run.state import save_state


def write_model(job: Job, net: Network, found: Found, folder: Path) -> list[str]:
    """Writes everything that does not need the report; `model.onnx` and `original.onnx` are there already.

    Returns:
        Notes on what could not be written.

    Raises:
        PenjingError: PJ604, the model's state or its example inputs cannot be saved without pickle; PJ602,
            they cannot be written.
        OSError: nor can the other files.
    """
    (folder / "recipe.toml").write_text(recipe_of(job), encoding="utf-8")
    (folder / "plan.json").write_text(found.plan.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (folder / "surgery.json").write_text(json.dumps(found.cut.record) + "\n", encoding="utf-8")
    save_state(found.cut.model, folder / "model.safetensors")
    if found.cut.fallback is not None:
        save_inputs(net.call, folder / FILE)
    return save_program(found.cut.model, net.call, folder / "model.pt2")


def save_program(model: nn.Module, call: Call, path: Path) -> list[str]:
    """Writes the model as an exported program (`.pt2`); a note where `torch.export` refuses it.

    Raises:
        OSError: the file cannot be written.
    """
    call = call.copy()  # a view would take the whole of its storage along
    modes = [(module, module.training) for module in model.modules()]
    level = logging.getLogger("torch.export").level
    try:
        model.eval()
        with warnings.catch_warnings(), unstepped():
            warnings.simplefilter("ignore")
            program = torch.export.export(model, call.args, call.kwargs, strict=False)
            content = io.BytesIO()  # on a full disk, torch's own writer ends the process
            torch.export.save(program, content)
    except Exception as error:  # torch.export raises any type
        reason = " ".join(str(error).split())[:200]
        return [f"there is no model.pt2: torch.export refuses the model ({type(error).__name__}: {reason})"]
    finally:
        for module, training in modes:
            module.training = training
        logging.getLogger("torch.export").setLevel(level)
    path.write_bytes(content.getbuffer())
    return []
