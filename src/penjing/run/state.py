"""The weights of a model as safetensors: no pickle, shared tensors once, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from penjing.errors import PenjingError

_SHARED = "shared"


def save_state(model: nn.Module, path: Path) -> None:
    """Writes the `state_dict` of `model`; names of one tensor are written once, the others point to it.

    Raises:
        PenjingError: PJ604, the state holds something else than tensors; PJ602, it cannot be written.
    """
    kept: dict[str, Tensor] = {}
    shared: dict[str, str] = {}
    owners: dict[tuple[object, ...], str] = {}
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise PenjingError(
                "PJ604",
                f"`{name}` of the model's state cannot be saved",
                because=f"it is a {type(value).__name__}, not a tensor, and pickle is not used",
                tries=["give the module's extra state another place than get_extra_state"],
            )
        place = (value.untyped_storage().data_ptr(), value.storage_offset(), value.shape, value.stride())
        owner = owners.setdefault(place, name) if value.numel() else name
        if owner == name:
            # Tensors that are parts of one storage are written apart: values survive, overlap does not.
            kept[name] = value.detach().clone(memory_format=torch.contiguous_format)
        else:
            shared[name] = owner
    write_tensors(kept, path, {_SHARED: json.dumps(shared)})


def write_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """A safetensors file with the permissions that any new file has.

    Raises:
        PenjingError: PJ602, it cannot be written.
    """
    try:
        path.touch()
        mode = path.stat().st_mode  # of the umask; safetensors makes files that none but the owner may read
        save_file(dict(tensors), path, metadata=dict(metadata))
        path.chmod(mode)
    except (OSError, SafetensorError) as error:
        raise PenjingError(
            "PJ602",
            f"`{path}` cannot be written",
            because=str(error),
            tries=["make room on the disk that it lies on, or set TMPDIR to a folder on another"],
        ) from error


def load_state(model: nn.Module, path: Path) -> None:
    """Reads what `save_state` wrote; every name must be there, and no other.

    Raises:
        PenjingError: PJ605, the file is damaged or does not fit the model.
    """
    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            shared = json.loads((file.metadata() or {}).get(_SHARED, "{}"))
        model.load_state_dict(
            {**state, **{name: state[owner] for name, owner in shared.items()}}, strict=True
        )
    except (OSError, SafetensorError, RuntimeError, KeyError, ValueError) as error:
        raise PenjingError(
            "PJ605",
            f"`{path}` does not fit `{type(model).__name__}`",
            because=str(error),
            tries=["let the factory build the architecture that was pruned, at its original size"],
        ) from error
