"""A model whose sparse layers are stored sparse where that pays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from torch import Tensor, nn

from penjing.compress.copy import copy_of
from penjing.compress.sparse.calls import Calls, counted, followed
from penjing.compress.sparse.choose import measured_layer
from penjing.compress.sparse.files import export_sparse, replace_layers, save_sparse
from penjing.compress.sparse.form import candidates
from penjing.compress.sparse.layer import matrix_of
from penjing.compress.sparse.layout import looked_at_alike, taking_columns
from penjing.compress.sparse.record import LayerRecord, SparseRecord
from penjing.compress.sparse.suits import objection
from penjing.compress.sparse.whole import difference, given_up, measured_whole
from penjing.devices.export import own_words
from penjing.devices.pytorch import threads as set_threads
from penjing.devices.timed import MOST_THREADS
from penjing.errors import PenjingError
from penjing.network.call import Call
from penjing.network.refused import refused_source
from penjing.network.source import where


@dataclass(frozen=True, eq=False)
class Sparse:
    """A model for inference, and what was measured of it.

    Attributes:
        model: of the same class; layers named in `record.chosen` are sparse.
        record: every figure.
    """

    model: nn.Module
    record: SparseRecord
    _call: Call = field(repr=False)

    def save(self, directory: Path | str) -> Path:
        """Writes weights and record: `sparse.safetensors`, `sparse.json`; no pickle.

        Args:
            directory: does not exist yet, or is empty.

        Raises:
            PenjingError: PJ801, it is not empty; PJ602, it cannot be written; PJ604, the model's state holds
                something else than tensors.
        """
        return save_sparse(self.model, self.record, Path(directory))

    def export(self, file: Path | str) -> Path:
        """Writes an exported program (`.pt2`), which runs without the code of the model.

        It is for the sizes of the example inputs. `torch.export.load` reads it, after
        `import penjing.compress`, which brings the one operator that PyTorch has not.

        Args:
            file: to write.

        Raises:
            PenjingError: PJ402, `torch.export` refuses the model; PJ403, the program computes something else;
                PJ602, it cannot be written. No file is left behind then.
        """
        return export_sparse(self.model, self._call, Path(file))


def to_sparse(model: nn.Module, example_inputs: Any, *, threads: int = 1) -> Sparse:
    """Stores every layer without its zeros that is measured to be quicker so; the others stay as they are.

    Linear layers and convolutions without groups are tried in compressed rows (CSR) and in blocks of them
    (BSR), on the inputs that they have when the model runs on the example inputs. In the end the whole is
    measured beside the original; where it is not quicker by more than the noise, nothing is changed.

    Args:
        model: it is not changed; its weights hold zeros, from whatever.
        example_inputs: a tensor, a tuple or a dict, as the model is called: latencies hold for their sizes.
        threads: of PyTorch.

    Returns:
        The model, for inference only, and the figures.

    Raises:
        PenjingError: PJ101 or PJ102, the model cannot be called so, or does not run; PJ105, it is
            no module; PJ804, it cannot be copied; PJ406, so many threads; PJ802, it computes something
            else: a defect of penjing.
    """
    if not isinstance(model, nn.Module):
        raise refused_source(model)
    if threads not in range(1, MOST_THREADS + 1):
        raise PenjingError("PJ406", f"PyTorch cannot run on {threads} threads", tries=["threads=1"])
    if any(one.is_meta for one in (*model.parameters(), *model.buffers())):
        raise PenjingError(
            "PJ102", f"`{type(model).__name__}` has no weights", because="they are on the device `meta`"
        )
    call = Call.of(model, example_inputs).copy()

    def with_sparse(records: Iterable[LayerRecord]) -> nn.Module:
        """A copy that has not run yet: code may keep something between calls."""
        return replace_layers(_for_inference(model), records)

    # Not as for exporting: PyTorch's fused attention stays on if it is on, since it will be when it counts.
    with set_threads(threads):
        own = _for_inference(model)
        layers = {
            path: module for path, module in own.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)
        }
        objections = {path: objection(own, path, one) or _unworthy(one) for path, one in layers.items()}
        tried = [layers[path] for path, why in objections.items() if not why]
        calls = _followed(own, call, tried)
        columns = taking_columns(own, call, [one for one in tried if _many_rows(one, calls)])
        records = tuple(
            _examined(path, layer, objections[path], calls, threads, by_columns=layer in columns)
            for path, layer in layers.items()
        )
        if not looked_at_alike(own, with_sparse(records), call):
            # What was tried were all of the layers, not only these.
            records = tuple(record.model_copy(update={"by_columns": False}) for record in records)
        records = _reached(with_sparse(records), call, records, layers, calls)
        error, note = difference(_for_inference(model), with_sparse(records), call)
        records = given_up(records, note) if note else records
        records = (*records, *_others(own, layers))
        record = measured_whole(own, with_sparse(records), call, records, threads, error=error, note=note)
    return Sparse(with_sparse(record.layers), record, call)


def _reached(
    small: nn.Module,
    call: Call,
    records: tuple[LayerRecord, ...],
    layers: Mapping[str, nn.Module],
    calls: Calls,
) -> tuple[LayerRecord, ...]:
    """The records, where layers stay dense whose sparse counterparts the model's code does not call."""
    chosen = {record.name: small.get_submodule(record.name) for record in records if record.chosen}
    try:
        found = counted(small, call, chosen)
    except Exception as error:  # the user's own code, with layers that it does not know
        return given_up(records, f"the model's code does not work with it: {own_words(error)}")
    missed = [name for name, number in found.items() if number != len(calls.inputs[id(layers[name])])]
    if not missed:
        return records
    return given_up(records, "the model's code calls it by another reference than its name", missed)


def _others(model: nn.Module, layers: Mapping[str, nn.Module]) -> Iterator[LayerRecord]:
    """Layers of other kinds that have a matrix, each by its largest."""
    for path, module in model.named_modules():
        matrices = [one for one in module.parameters(recurse=False) if one.ndim >= 2 and one.numel()]
        if not matrices or path in layers or any(path.startswith(f"{name}.") for name in layers):
            continue
        largest = max(matrices, key=Tensor.numel).flatten(1)
        yield LayerRecord(
            name=path,
            shape=(int(largest.shape[0]), int(largest.shape[1])),
            sparsity=float((largest == 0).double().mean()),
            reason=f"layers of the type `{type(module).__name__}` are not stored sparse",
        )


def _many_rows(layer: nn.Module, calls: Calls) -> TypeGuard[nn.Linear]:
    """Whether it is a linear layer that works on more than one row in all of its calls."""
    inputs = calls.inputs.get(id(layer), []) if id(layer) not in calls.objections else []
    return isinstance(layer, nn.Linear) and bool(inputs) and all(x.numel() > x.shape[-1] for x in inputs)


def _for_inference(model: nn.Module) -> nn.Module:
    """A copy that asks for no gradients.

    Raises:
        PenjingError: PJ804, it cannot be copied.
    """
    return copy_of(model).eval().requires_grad_(False)


def _followed(model: nn.Module, call: Call, layers: Sequence[nn.Module]) -> Calls:
    """How the model uses these layers.

    Raises:
        PenjingError: PJ102, it does not run.
    """
    try:
        return followed(model, call.copy(), layers)
    except PenjingError:
        raise
    except Exception as error:  # the user's own code
        raise PenjingError(
            "PJ102",
            f"`{type(model).__name__}` does not run on the example inputs",
            because=f"{type(error).__name__}: {error}",
            path=where(error, model),
            tries=["check their shapes, types and devices against the model"],
        ) from error


def _examined(
    path: str, layer: nn.Module, why: str, calls: Calls, threads: int, *, by_columns: bool
) -> LayerRecord:
    why = why or calls.objections.get(id(layer), "")
    if not why:
        return measured_layer(path, layer, calls.inputs[id(layer)], threads, by_columns=by_columns)
    matrix = matrix_of(layer)
    zeros = float((matrix == 0).double().mean()) if matrix.numel() else 0.0
    shape = (int(matrix.shape[0]), int(matrix.shape[1]))
    return LayerRecord(name=path, shape=shape, sparsity=zeros, reason=why)


def _unworthy(layer: nn.Module) -> str:
    """Why there is no form to be tried; "" where there is."""
    return "" if candidates(matrix_of(layer)) else "more than half of its numbers would have to be stored"
