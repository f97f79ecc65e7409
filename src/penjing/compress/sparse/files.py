"""A model with sparse layers, written and read back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from penjing.compress.sparse.form import Form, decode, matrix_of_parts
from penjing.compress.sparse.layer import made_sparse
from penjing.compress.sparse.record import SparseRecord
from penjing.errors import PenjingError

WEIGHTS: Final = "sparse.safetensors"
RECORD: Final = "sparse.json"


def replace_layers(model: nn.Module, chosen: Mapping[str, str]) -> nn.Module:
    """Puts sparse layers in the places of dense ones, in `model` itself.

    Args:
        model: whose layers these are.
        chosen: form by path.
    """
    for path, name in chosen.items():
        layer = model.get_submodule(path)
        sparse = made_sparse(layer, Form.read(name)).train(layer.training)
        for other, _ in [(p, m) for p, m in model.named_modules(remove_duplicate=False) if m is layer]:
            parent, _, last = other.rpartition(".")
            setattr(model.get_submodule(parent), last, sparse)
    return model


def save_sparse(model: nn.Module, record: SparseRecord, directory: Path) -> Path:
    """Writes both into a directory.

    Raises:
        PenjingError: PJ801, it is not empty.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise PenjingError(
            "PJ801", f"`{directory}` is there already, and not empty", tries=["another directory"]
        )
    directory.mkdir(parents=True, exist_ok=True)
    # Tied tensors are stored once under every name: safetensors refuses shared memory.
    state = {name: tensor.detach().clone().contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, directory / WEIGHTS)
    (directory / RECORD).write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return directory


def load_sparse(directory: Path | str, model_factory: Callable[[], nn.Module]) -> nn.Module:
    """The model that `Sparse.save` wrote, bit for bit, in eval mode.

    Args:
        directory: that it was saved to.
        model_factory: builds the model as it was before; its weights do not matter.

    Raises:
        PenjingError: PJ801, there is none, its files are damaged, or they do not fit what the factory builds.
    """
    folder = Path(directory)
    try:
        record = SparseRecord.model_validate(json.loads((folder / RECORD).read_text(encoding="utf-8")))
        state = load_file(folder / WEIGHTS)
    except (OSError, ValueError, ValidationError, SafetensorError) as error:
        raise _refused(folder, str(error)) from error
    model = model_factory()
    try:
        for path, name in record.chosen.items():
            _place(model, path, Form.read(name), state)
        model.load_state_dict(state)
    except (AttributeError, KeyError, RuntimeError, AssertionError, ValueError) as error:
        raise _refused(folder, f"the factory's model does not fit: {error}") from error
    return model.eval()


def _place(model: nn.Module, path: str, form: Form, state: Mapping[str, torch.Tensor]) -> None:
    """A sparse layer with the stored parts, in the place of the factory's dense one."""
    layer = model.get_submodule(path)
    rows, columns, values = (state[f"{path}.{name}"] for name in ("rows", "columns", "values"))
    assert isinstance(layer.weight, torch.Tensor)
    outputs, inputs = layer.weight.flatten(1).shape
    dense = decode(matrix_of_parts(rows, columns, values, (outputs, inputs), check=True))
    with torch.no_grad():
        layer.weight = nn.Parameter(dense.reshape(layer.weight.shape), requires_grad=False)
    replace_layers(model, {path: form.name})


def _refused(folder: Path, because: str) -> PenjingError:
    return PenjingError(
        "PJ801",
        f"`{folder}` holds no model with sparse layers that can be loaded",
        because=" ".join(because.split())[:400],
        tries=["the directory that `Sparse.save` was given, and the factory of the model it was made from"],
    )
