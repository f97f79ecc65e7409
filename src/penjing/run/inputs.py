"""Example inputs in a run directory, for modules that have to be traced again when they are loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.utils import _pytree as pytree

from penjing.errors import PenjingError
from penjing.network import Call
from penjing.run.state import write_tensors

FILE: Final = "inputs.safetensors"
_PLAIN: Final = (bool, int, float, str, type(None))


def save_inputs(call: Call, path: Path) -> None:
    """Writes tensors as they are, and structure and plain values as JSON beside them.

    Raises:
        PenjingError: PJ604, an argument is neither tensor nor plain value, or lies in a structure of its
            own kind; PJ602, they cannot be written.
    """
    leaves, structure = pytree.tree_flatten((call.args, call.kwargs))
    odd = [leaf for leaf in leaves if not isinstance(leaf, (Tensor, *_PLAIN))]
    try:
        described = pytree.treespec_dumps(structure)
    except NotImplementedError as error:
        raise _unsaved(str(error)) from error
    if odd:
        raise _unsaved(f"one of them is a {type(odd[0]).__name__}")
    tensors = {
        str(n): leaf.detach().clone().contiguous()
        for n, leaf in enumerate(leaves)
        if isinstance(leaf, Tensor)
    }
    plain = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]
    write_tensors(tensors, path, {"structure": described, "plain": json.dumps(plain)})


def load_inputs(path: Path) -> Call:
    """Reads what `save_inputs` wrote.

    Raises:
        PenjingError: PJ606, it is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about: dict[str, str] = file.metadata() or {}
            leaves: list[Any] = json.loads(about["plain"])
            for name in file.keys():  # noqa: SIM118 (no mapping)
                leaves[int(name)] = file.get_tensor(name)
        args, kwargs = pytree.tree_unflatten(leaves, pytree.treespec_loads(about["structure"]))
    except (OSError, SafetensorError, KeyError, ValueError, IndexError) as error:
        raise PenjingError("PJ606", f"`{path}` is damaged", because=str(error)) from error
    return Call(tuple(args), dict(kwargs))


def _unsaved(because: str) -> PenjingError:
    return PenjingError(
        "PJ604",
        "the example inputs cannot be saved, and the model cannot be loaded again without them",
        because=because,
        tries=["give tensors and plain values, in tuples, lists and dicts"],
    )
