"""Models whose parameters are spread over processes (FSDP2), and such parameters as whole tensors."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, distributed, nn

from penjing import processes


def sharded(model: nn.Module) -> nn.Module:
    """A copy of `model` of whose parameters every process holds a part; `model` stays as it is.

    Modules that stand in a list are gathered one by one when they run, and all else together.

    Source: Zhao et al. 2023, arXiv:2304.11277, by `torch.distributed.fsdp.fully_shard`.
    """
    from torch.distributed.device_mesh import init_device_mesh  # slow to load, seldom needed
    from torch.distributed.fsdp import fully_shard

    copy = deepcopy(model)
    kind = next((parameter.device.type for parameter in model.parameters()), "cpu")
    mesh = init_device_mesh(kind, (processes.world(),))
    for block in _blocks(copy):
        fully_shard(block, mesh=mesh)
    fully_shard(copy, mesh=mesh)
    return copy


def _blocks(model: nn.Module) -> list[nn.Module]:
    """The members of the outermost lists that share no parameter with anything else."""
    readers: dict[nn.Parameter, int] = {}
    for module in model.modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                readers[parameter] = readers.get(parameter, 0) + 1
    lists = {name: module for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    outer = [module for name, module in lists.items() if not any(name.startswith(f"{o}.") for o in lists)]
    members = [member for module in outer for member in module]
    alone = [m for m in members if all(readers[p] == 1 for p in m.parameters())]
    return [member for member in alone if next(member.parameters(), None) is not None]


def whole(tensor: Tensor) -> Tensor:
    """The tensor itself; of one that is spread over processes, all of it, gathered by all of them at once."""
    return tensor.full_tensor() if _is_spread(tensor) else tensor  # type: ignore[attr-defined]


@torch.no_grad()
def write(tensor: Tensor, value: Tensor) -> None:
    """`tensor` becomes `value`, which is whole; where it is spread over processes, each takes its part."""
    if not _is_spread(tensor):
        tensor.copy_(value)
        return
    from torch.distributed.tensor import distribute_tensor

    own: Any = tensor
    value = value.to(tensor.device, tensor.dtype)
    tensor.copy_(distribute_tensor(value, own.device_mesh, own.placements, src_data_rank=None))


def _is_spread(tensor: Tensor) -> bool:
    if type(tensor) in (Tensor, nn.Parameter) or not distributed.is_available():
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)
