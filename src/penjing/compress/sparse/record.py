"""What was measured, layer by layer and as a whole."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LayerRecord(_Frozen):
    """One linear layer or convolution, or another layer with a matrix, which is left as it is.

    Attributes:
        name: its path in the model.
        shape: of its matrix: outputs, inputs.
        inputs: shapes of what it works on in one call of the model.
        sparsity: share of zeros in its matrix.
        dense_ms: what it takes as it is, all its calls together; None where nothing was to be tried.
        forms_ms: the same by form.
        noise: largest relative standard error of these figures.
        basis: the clock that they are read by: "wall" or "cpu".
        chosen: the form that it is stored in; None for dense.
        by_columns: whether its outputs lie by columns, since the model's code takes them so.
        geometry: of a convolution that is sparse: kernel, stride, padding and dilation.
        reason: why not sparse; "" where it is.
    """

    name: str
    shape: tuple[int, int]
    inputs: tuple[tuple[int, ...], ...] = ()
    sparsity: float
    dense_ms: float | None = None
    forms_ms: dict[str, float] = {}
    noise: float | None = None
    basis: str | None = None
    chosen: str | None = None
    by_columns: bool = False
    geometry: dict[str, tuple[int, int]] | None = None
    reason: str = ""


class SparseRecord(_Frozen):
    """A whole model.

    Attributes:
        layers: all of its layers that have a matrix.
        threads: that it was measured with.
        basis: the clock that the whole is read by: "wall" or "cpu".
        dense_ms: the model as it was.
        sparse_ms: as it is now; the same where nothing pays.
        noise: larger relative standard error of the two.
        max_error: largest difference of an output, relative to its largest value.
        bytes: of parameters and buffers: before, after.
        note: why the model is as it was, where it is although a layer paid.
    """

    layers: tuple[LayerRecord, ...]
    threads: int
    basis: str
    dense_ms: float
    sparse_ms: float
    noise: float
    max_error: float
    bytes: tuple[int, int]
    note: str = ""

    @property
    def chosen(self) -> dict[str, str]:
        """The form of every layer that is sparse."""
        return {layer.name: layer.chosen for layer in self.layers if layer.chosen is not None}
