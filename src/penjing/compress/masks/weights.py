"""Which parameters of a model are weights that may be zero one by one, and why the others are left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from penjing.compress.masks.module import mask_on, parameter_of, parameters
from penjing.errors import PenjingError

_MULTIPLY = (
    nn.Linear,
    nn.Bilinear,
    nn.RNNBase,
    nn.RNNCellBase,
    nn.MultiheadAttention,
    nn.modules.conv._ConvNd,
)
_TABLES = (nn.Embedding, nn.EmbeddingBag)


@dataclass(frozen=True, eq=False)
class Weight:
    """One parameter.

    Attributes:
        name: its dotted name, as it is without masks.
        module: the first that holds it.
        own: its name there.
        out: its dimension of outputs, as far as the module's type tells; 0 where it does not.
    """

    name: str
    module: nn.Module
    own: str
    out: int = 0

    @property
    def tensor(self) -> nn.Parameter:
        """The parameter itself: under its mask, if it has one."""
        return parameter_of(self.module, self.own)


def weights(
    model: nn.Module, *, keep: Sequence[str] = (), only: Sequence[str] | None = None
) -> tuple[dict[str, Weight], dict[str, str]]:
    """What may be sparsified, and what is left with the reason.

    Those are floating-point parameters of two or more dimensions, of whatever module, but for tables that are
    looked up (embeddings, and what shares a parameter with one) and, outside of layers that are known to
    multiply, for vectors and for what has a first dimension of 1, as tokens and tables of positions do.
    What `only` names is taken in any case.

    Args:
        model: with masks or without.
        keep: patterns (`fnmatch`) of names of parameters or modules to leave.
        only: of those to take; None for all.

    Returns:
        By name, in the order of the model; names of one parameter stand for all of its names.

    Raises:
        PenjingError: PJ816, a pattern fits nothing.
    """
    every = [Weight(name, module, own, _out(module)) for name, module, own in parameters(model)]
    aliases: dict[int, list[Weight]] = {}
    for one in every:
        aliases.setdefault(id(one.tensor), []).append(one)
    for pattern in (*keep, *(only or ())):
        if not any(_fits(one.name, pattern) for one in every):
            raise PenjingError(
                "PJ816",
                f"the pattern `{pattern}` fits no parameter and no module that has one",
                tries=[f"`{one.name}`" for one in every if one.tensor.ndim > 1][:3],
            )
    found: dict[str, Weight] = {}
    left = computed(model)
    every = [one for one in every if not any(one.name.startswith(f"{name}_") for name in left)]
    for same in aliases.values():
        first = same[0]
        if first.tensor.ndim < 2 or not first.tensor.is_floating_point():
            continue
        names = [one.name for one in same]
        named = only is not None and any(_fits(name, pattern) for name in names for pattern in only)
        if any(_fits(name, pattern) for name in names for pattern in keep):
            left[first.name] = "kept whole, as asked"
        elif only is not None and not named:
            left[first.name] = "not among those that were asked for"
        elif not named and (why := _unsuited(same)):
            left[first.name] = why
        else:
            found[first.name] = next((one for one in same if isinstance(one.module, _MULTIPLY)), first)
            if found[first.name] is not first:
                found[first.name] = Weight(first.name, first.module, first.own, found[first.name].out)
    return found, left


def computed(model: nn.Module) -> dict[str, str]:
    """Weights that are computed from others, by parametrizations or by hooks, and why they are left."""
    found = {}
    for path, module in model.named_modules():
        names = [] if not parametrize.is_parametrized(module) else list(module.parametrizations)
        own = [name for name in names if mask_on(module, name) is None]
        hooks = module._forward_pre_hooks.values()
        own += [hook.name for hook in hooks if isinstance(hook, WeightNorm | SpectralNorm)]
        for name in own:
            full = f"{path}.{name}" if path else name
            found[full] = "it is computed from other parameters; make it final first"
    return found


def _fits(name: str, pattern: str) -> bool:
    """Whether a pattern fits the name of a parameter, of its module, or of one around it."""
    parts = name.split(".")
    return any(fnmatchcase(".".join(parts[:end]), pattern) for end in range(1, len(parts) + 1))


def _unsuited(same: Sequence[Weight]) -> str:
    table = next((one for one in same if isinstance(one.module, _TABLES)), None)
    if table is not None:
        return f"`{table.name}` is a table that is looked up; only=[...] takes it"
    if any(isinstance(one.module, _MULTIPLY) for one in same):
        return ""
    shape = tuple(same[0].tensor.shape)
    if sum(size > 1 for size in shape) < 2:
        return f"{shape} is a vector; only=[...] takes it"
    if shape[0] == 1:
        return f"{shape} is no matrix, but a token or a table of positions; only=[...] takes it"
    return ""


def _out(module: nn.Module) -> int:
    """Transposed convolutions, and `Conv1D` of transformers, have their inputs first."""
    return int(isinstance(module, nn.modules.conv._ConvTransposeNd) or type(module).__name__ == "Conv1D")
