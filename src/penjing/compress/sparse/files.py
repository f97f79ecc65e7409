"""A model with sparse layers, written and read back."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from penjing.compress.sparse.form import Form, decode, matrix_of_parts
from penjing.compress.sparse.layer import geometry_of, made_sparse
from penjing.compress.sparse.record import LayerRecord, SparseRecord
from penjing.devices.export import own_words
from penjing.devices.program import to_program
from penjing.errors import PenjingError
from penjing.network.call import Call

WEIGHTS: Final = "sparse.safetensors"
RECORD: Final = "sparse.json"
_TIED: Final = "tied"


def replace_layers(model: nn.Module, records: Iterable[LayerRecord]) -> nn.Module:
    """Puts sparse layers in the places of dense ones, in `model` itself.

    Args:
        model: whose layers these are.
        records: of its layers; those without a form stay as they are.

    Returns:
        The model; where it is a layer itself, the one that takes its place.
    """
    for record in records:
        if record.chosen is None:
            continue
        layer = model.get_submodule(record.name)
        sparse = made_sparse(layer, Form.read(record.chosen), by_columns=record.by_columns).train(
            layer.training
        )
        if layer is model:
            return sparse
        for other, _ in [(p, m) for p, m in model.named_modules(remove_duplicate=False) if m is layer]:
            parent, _, last = other.rpartition(".")
            setattr(model.get_submodule(parent), last, sparse)
    return model


def check_empty(directory: Path) -> None:
    """Makes sure that a model can be saved there.

    Raises:
        PenjingError: PJ801, there is something already.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise PenjingError(
            "PJ801", f"`{directory}` is there already, and not empty", tries=["another directory"]
        )


def save_sparse(model: nn.Module, record: SparseRecord, directory: Path) -> Path:
    """Writes both into a directory: whole, or not at all.

    Raises:
        PenjingError: PJ801, it is not empty; PJ602, it cannot be written; PJ604, the state of the model holds
            something else than tensors.
    """
    check_empty(directory)
    directory = directory.resolve()  # a link to an empty directory, or the one that we stand in
    tensors, tied = _state_of(model)
    above = next(folder for folder in directory.absolute().parents if folder.is_dir())
    made = [folder for folder in directory.absolute().parents if not folder.exists()]
    partial = None
    try:
        partial = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=above))
        save_file(tensors, partial / WEIGHTS, metadata={_TIED: json.dumps(tied)})
        (partial / RECORD).write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
        mode = (partial / RECORD).stat().st_mode  # safetensors lets none but the owner read, mkdtemp likewise
        (partial / WEIGHTS).chmod(mode)
        partial.chmod(mode | (mode & 0o444) >> 2)  # who may read files may enter their folder
        directory.parent.mkdir(parents=True, exist_ok=True)
        if directory.exists():
            for name in (WEIGHTS, RECORD):  # the record last: without it, there is nothing to be loaded
                (partial / name).replace(directory / name)
        else:
            partial.replace(directory)
    except (OSError, SafetensorError) as error:
        for folder in made:
            with contextlib.suppress(OSError):  # not there, or somebody else's by now
                folder.rmdir()
        raise _unwritable(directory, error) from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
    return directory


def export_sparse(model: nn.Module, call: Call, file: Path) -> Path:
    """Writes the model as an exported program: whole, or not at all.

    Raises:
        PenjingError: PJ402, there is none; PJ403, it computes something else; PJ602, it cannot be written.
    """
    if not file.name:
        raise _unwritable(file, ValueError("it is no name of a file"))
    partial = file.with_name(f".{file.name}.partial")
    try:
        artifact = to_program(model, call, partial)
        if not artifact.agrees:
            raise PenjingError(
                "PJ403",
                f"the exported program of `{type(model).__name__}` computes something else",
                because=f"outputs differ by {artifact.agreement:.1e} of the largest",
                tries=["report the model"],
            )
        partial.replace(file)
    except PenjingError:
        raise
    except OSError as error:
        raise _unwritable(file, error) from error
    except Exception as error:  # torch.export raises any type
        raise PenjingError(
            "PJ402",
            f"`{type(model).__name__}` has no exported program",
            because=own_words(error),
            tries=["save it to a directory instead: Sparse.save"],
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return file


def _state_of(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Every tensor once, and the names that are other names of one of them.

    Raises:
        PenjingError: PJ604, there is something else.
    """
    kept: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    owners: dict[int, str] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        if not isinstance(value, Tensor):
            raise PenjingError(
                "PJ604",
                f"`{name}` of the model's state cannot be saved",
                because=f"it is a {type(value).__name__}, not a tensor, and pickle is not used",
                tries=["give the module's extra state another place than get_extra_state"],
            )
        owner = owners.setdefault(id(value), name)
        if owner == name:
            # Views of one storage are written apart: safetensors refuses shared memory.
            kept[name] = value.detach().clone(memory_format=torch.contiguous_format)
        else:
            tied[name] = owner
    return kept, tied


def load_sparse(directory: Path | str, model_factory: Callable[[], nn.Module]) -> nn.Module:
    """The model that `Sparse.save` wrote, bit for bit, in eval mode and without gradients.

    Args:
        directory: that it was saved to.
        model_factory: builds the model as it was before; its weights and their types do not matter. What is
            in no `state_dict`, such as buffers that are not persistent, is as it builds it.

    Raises:
        PenjingError: PJ801, there is none, its files are damaged, or they do not fit what the factory builds.
    """
    folder = Path(directory)
    try:
        record = SparseRecord.model_validate(json.loads((folder / RECORD).read_text(encoding="utf-8")))
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            tied = dict(json.loads((file.metadata() or {}).get(_TIED, "{}")))
        state |= {name: state[owner] for name, owner in tied.items()}
    except (OSError, KeyError, TypeError, ValueError, ValidationError, SafetensorError) as error:
        raise _refused(folder, str(error)) from error
    if isinstance(model_factory, nn.Module):
        raise PenjingError(
            "PJ801",
            "a model was given in the place of what builds one",
            tries=[
                "give the class, or a function without arguments: load_sparse(directory, lambda: Model(...))"
            ],
        )
    model = model_factory()
    try:
        for layer in record.layers:
            if layer.chosen is not None:
                model = _placed(model, layer, state)
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if name in state:
                tensor.data = tensor.data.to(state[name].dtype)  # `load_state_dict` would round
        model.load_state_dict(state)
    except (AttributeError, KeyError, RuntimeError, AssertionError, ValueError) as error:
        raise _refused(folder, f"the factory's model does not fit: {error}") from error
    return model.eval().requires_grad_(False)


def _placed(model: nn.Module, record: LayerRecord, state: Mapping[str, Tensor]) -> nn.Module:
    """The model with a sparse layer that has the stored parts, in the place of the factory's dense one."""
    layer = model.get_submodule(record.name)
    if isinstance(layer, nn.Conv2d) and record.geometry not in (None, geometry_of(layer)):
        raise ValueError(f"`{record.name}` had {record.geometry}, and has {geometry_of(layer)}")
    rows, columns, values = (
        state[f"{record.name}.{name}".lstrip(".")] for name in ("rows", "columns", "values")
    )
    assert isinstance(layer.weight, Tensor)
    outputs, inputs = layer.weight.flatten(1).shape
    dense = decode(matrix_of_parts(rows, columns, values, (outputs, inputs), check=True))
    with torch.no_grad():
        layer.weight = nn.Parameter(dense.reshape(layer.weight.shape), requires_grad=False)
    return replace_layers(model, [record])


def _unwritable(target: Path, error: Exception) -> PenjingError:
    return PenjingError(
        "PJ602",
        f"`{target}` cannot be written",
        because=str(error),
        tries=["name a place that you may write to, on a disk with space left"],
    )


def _refused(folder: Path, because: str) -> PenjingError:
    return PenjingError(
        "PJ801",
        f"`{folder}` holds no model with sparse layers that can be loaded",
        because=" ".join(because.split())[:400],
        tries=["the directory that `Sparse.save` was given, and the factory of the model it was made from"],
    )
