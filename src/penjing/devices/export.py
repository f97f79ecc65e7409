"""A PyTorch module as an ONNX file: quiet, named, and compared with the module itself."""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from onnxscript import ir
from torch import Tensor, nn
from torch.export import Dim
from torch.utils import _pytree as pytree

from penjing.devices.compare import Array, agreement, apart
from penjing.devices.feeds import array, outputs, tensors
from penjing.devices.form import Form
from penjing.devices.recurrent import TRANSLATIONS, fold_weights, odd_layers, unrolled
from penjing.devices.size import artifact_size, weights_beside
from penjing.errors import PenjingError
from penjing.network.call import Call
from penjing.network.unstepped import unstepped

AGREEMENT: Final = 1e-5
"""What the file may differ by from the module, relative to the largest output."""

_WRONG: Final = 1e-2  # beyond any rounding: the exporter made another function
_INLINE_BYTES: Final = 2**31 - 2**26  # protobuf holds less than 2 GB


@dataclass(frozen=True)
class Artifact:
    """A file that is shipped and what is known of it.

    Attributes:
        path: the file; weights beyond 2 GB lie beside it, in `path` + `.data`.
        inputs: their names, in order.
        outputs: likewise.
        static: "" where the first dimension of the inputs is free, else why it is fixed.
        agreement: largest difference from the module on the example inputs, relative to the largest output.
        agrees: whether that is at most `AGREEMENT`.
        size_bytes: of all its files.
        form: which kind of file it is.
    """

    path: Path
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    static: str
    agreement: float
    agrees: bool
    size_bytes: int
    form: Form = "onnx"

    @classmethod
    def of_example(
        cls, path: Path, call: Call, expected: Mapping[str, Tensor], found: Sequence[Array], form: Form
    ) -> Artifact:
        """A file of another form than ONNX, which is made for the example's sizes.

        Args:
            path: where it stands.
            call: the example inputs.
            expected: the module's outputs.
            found: the file's.
            form: of the file.
        """
        worst = apart(found, [array(tensor) for tensor in expected.values()])
        return cls(
            path=path,
            inputs=tuple(tensors(call)),
            outputs=tuple(expected),
            static=f"a `.{form}` file is made for the example's sizes",
            agreement=worst,
            agrees=worst <= AGREEMENT,
            size_bytes=int(artifact_size(path).value),
            form=form,
        )

    def record(self) -> dict[str, Any]:
        """As data, for JSON; the file by its name alone."""
        return {**asdict(self), "path": self.path.name}

    @classmethod
    def read(cls, record: Mapping[str, Any], folder: Path) -> Artifact:
        """The inverse of `record`, for a file that stands in `folder`."""
        named = {"inputs": tuple(record["inputs"]), "outputs": tuple(record["outputs"])}
        return cls(**{**record, **named, "path": folder / record["path"]})


def to_onnx(model: nn.Module, call: Call, path: Path | str, *, free_batch: bool = True) -> Artifact:
    """Exports `model` in eval mode, optimised, with its weights inside, and compares the file with it.

    Args:
        model: left as it was.
        call: the example inputs.
        path: where to write; nothing is left there when the export fails.
        free_batch: let the first dimension of the inputs vary, where the model allows it.

    Raises:
        PenjingError: PJ402, the exporter refuses the model; PJ403, the file computes something else; PJ405,
            ONNX Runtime refuses it.
    """
    path = Path(path)
    with exporting(model), torch.no_grad():
        result = call.run(model)
        expected = outputs(result)
        static = _unlike(call) if free_batch else "asked for"
        if not static:
            program, static = _with_free_batch(model, call)
            if program is not None:
                with contextlib.suppress(PenjingError):  # refused by the runtime: as good as wrong
                    _drop_numbers(program.model.graph, result)
                    artifact = _write(program, call, expected, path, static)
                    if artifact is not None:
                        return artifact
                static = "with a free one the file does not compute the same for the example"
        program = _with_fixed_batch(model, call)
        _drop_numbers(program.model.graph, result)
        artifact = _write(program, call, expected, path, static)
    if artifact is None:
        raise PenjingError(
            "PJ403",
            f"the ONNX file of `{type(model).__name__}` computes something else on the example inputs",
            because=f"more than {_WRONG:.0%} of the largest output apart from PyTorch's",
            tries=["report the model: the exporter translates one of its operators wrongly"],
        )
    return artifact


def _write(
    program: torch.onnx.ONNXProgram, call: Call, expected: Mapping[str, Tensor], path: Path, static: str
) -> Artifact | None:
    """The file, in its place; None, and no file, where it computes something else than `expected`."""
    names = _rename(program.model.graph, list(tensors(call)), list(expected))
    _strip(program.model.graph)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as scratch:
        draft = Path(scratch) / path.name
        program.save(draft, external_data=_weight_bytes(program.model.graph) > _INLINE_BYTES)
        apart = agreement(draft, call, expected)
        if not apart <= _WRONG:
            return None
        weights_beside(path).unlink(missing_ok=True)  # of an earlier, larger model
        for file in Path(scratch).iterdir():
            shutil.move(file, path.parent / file.name)
    return Artifact(
        path=path,
        inputs=names[0],
        outputs=names[1],
        static=static,
        agreement=apart,
        agrees=apart <= AGREEMENT,
        size_bytes=int(artifact_size(path).value),
    )


def _with_fixed_batch(model: nn.Module, call: Call) -> torch.onnx.ONNXProgram:
    """Exports for the example inputs' sizes, by whichever of its ways the exporter can.

    Raises:
        PenjingError: PJ402, by none.
    """
    try:
        with quiet(), unstepped():
            return _program(model, call)
    except Exception as error:  # the exporter raises any type
        raise PenjingError(
            "PJ402",
            f"`{type(model).__name__}` has no ONNX form",
            because=own_words(error),
            tries=[
                "replace the operator that the exporter names",
                "--device params, or macs, which need no ONNX form",
            ],
        ) from error


def _with_free_batch(model: nn.Module, call: Call) -> tuple[torch.onnx.ONNXProgram | None, str]:
    """Exports with the first dimension of every input free; None, and why, where that cannot be."""

    def doubled(leaf: Any) -> Any:  # a size of one would be taken for a constant
        return torch.cat([leaf, leaf]) if isinstance(leaf, Tensor) and leaf.shape[0] == 1 else leaf

    def freed(leaf: Any) -> Any:
        return {0: Dim.AUTO} if isinstance(leaf, Tensor) else None

    example, free = call.map(doubled), call.map(freed)
    shapes = (*free.args, *free.kwargs.values())
    try:
        with quiet(), unstepped():
            program = _program(model, example, shapes=shapes)
    except Exception as error:  # likewise
        return None, f"the exporter cannot leave it free: {own_words(error)}"
    ends = zip(tensors(call), program.model.graph.inputs, strict=True)
    fixed = [f"`{name}`" for name, value in ends if not _is_free(value)]
    return (None, f"the model's code fixes that of {', '.join(fixed)}") if fixed else (program, "")


def _program(model: nn.Module, call: Call, *, shapes: Any = None) -> torch.onnx.ONNXProgram:
    """Exports with recurrent layers as single operators, but for those that no runtime has."""
    odd = odd_layers(model)
    subject: nn.Module | torch.export.ExportedProgram = model
    if odd or shapes is not None:
        traced = torch.export.export(model, call.args, call.kwargs, dynamic_shapes=shapes, strict=False)
        subject = unrolled(traced, odd)
    program = torch.onnx.export(
        subject,
        call.args,
        kwargs=call.kwargs,
        custom_translation_table=dict(TRANSLATIONS),
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    fold_weights(program.model)
    return program


def _unlike(call: Call) -> str:
    """Why the inputs cannot share a free first dimension; "" if they can."""
    sizes = {name: tuple(tensor.shape[:1]) for name, tensor in tensors(call).items()}
    if len(set(sizes.values())) != 1 or () in sizes.values():
        return f"the inputs do not begin with the same dimension: {sizes}"
    return ""


def _is_free(value: ir.Value) -> bool:
    """Whether the first dimension has no size; one that the exporter fixed may be a name made of digits."""
    first = value.shape[0] if value.shape is not None and len(value.shape) else 1
    return not (isinstance(first, int) or str(first.value).isdigit())


def _drop_numbers(graph: ir.Graph, result: Any) -> None:
    """Leaves tensors alone among the outputs: of a number that the model returns, the exporter makes one."""
    there = [isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(result) if leaf is not None]
    if len(there) == len(graph.outputs):
        for place in reversed([place for place, tensor in enumerate(there) if not tensor]):
            del graph.outputs[place]


def _rename(
    graph: ir.Graph, inputs: list[str], results: list[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Gives the graph's inputs and outputs the names of the call; what else is called so gives way."""
    assert len(graph.inputs) == len(inputs), "an input of the call is missing in the exported graph"
    results = [f"{name}_out" if name in inputs else name for name in results][: len(graph.outputs)]
    wanted = {*inputs, *results}
    ends = {id(value) for value in (*graph.inputs, *graph.outputs)}
    for node in graph.all_nodes():
        for value in node.outputs:
            if value.name in wanted and id(value) not in ends:
                value.name = f"{value.name}_inner"
    for value, name in zip(graph.inputs, inputs, strict=True):
        value.name = name
    for value, name in zip(graph.outputs, results, strict=True):
        value.name = name
    return tuple(inputs), tuple(results)


def _strip(graph: ir.Graph) -> None:
    """Drops the exporter's notes: source lines and paths of this machine are not to be shipped."""
    graph.metadata_props.clear()
    for value in (*graph.inputs, *graph.outputs, *graph.initializers.values()):
        value.metadata_props.clear()
    for node in graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()


def _weight_bytes(graph: ir.Graph) -> int:
    return sum(
        value.const_value.nbytes for value in graph.initializers.values() if value.const_value is not None
    )


def own_words(error: BaseException) -> str:
    """The innermost cause's message, without the exporter's advice around it."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:3])}"[:400]


@contextlib.contextmanager
def exporting(model: nn.Module) -> Iterator[None]:
    """Every module in eval mode, and fused attention (which no exporter knows) off; then as before."""
    training = [(module, module.training) for module in model.modules()]
    fast_path = torch.backends.mha.get_fastpath_enabled()
    try:
        model.eval()
        torch.backends.mha.set_fastpath_enabled(False)
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for module, flag in training:
            module.training = flag


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences the exporter: its progress and its warnings concern its own developers."""
    loggers = [logging.getLogger(name) for name in ("torch", "torch.onnx", "torch.export", "onnxscript")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
