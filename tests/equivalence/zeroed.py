"""An oracle that shares nothing with the surgery: the original, with zeros where units are removed.

That is the same function wherever nothing but weights reads across the removed units. Axes that a norm
reads across are left whole here, and so are the few of `READ_ACROSS`: they are left to the masked original.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from penjing.network import Axis, Network
from penjing.plan import Plan
from penjing.surgery import cut
from tests.equivalence.half import Halved, choose, prunable, run, survivors, traced
from tests.zoo.entry import Entry, Inputs

READ_ACROSS = {
    ("convnext_v2", "pwconv1"): "response normalisation divides by the mean over the channels",
    ("yolo", "detect.cv2"): "the box distribution is a softmax over its bins",
    ("vit_registers", "prefix"): "tokens attend to the registers: a softmax over them",
    ("einsum_attention", "attn2.to_qkv"): "linear attention: elu(0) + 1 is not zero",
    ("standardised", "conv1"): "every filter is standardised over its input channels",
    ("vq_vae", "encoder.2"): "the commitment loss is a mean over the code's units",
    ("capsules", "w:in2"): "routing is a softmax over the classes",
    ("cbam", "conv1"): "spatial attention takes the mean and the largest over the channels",
    ("highway", "maxout:1"): "maxout takes the largest of its pieces",
    ("transformer_decoder", "pool.in_proj"): "attention weights are returned as their mean over the heads",
}
"""(model, part of an axis's name) -> what reads across the units of that axis, besides weights and norms."""


def halve_across_weights(entry: Entry) -> Halved:
    """Random halves of those axes that nothing but weights reads across; the others whole."""
    net = traced(entry)
    kept = choose(net, "random")
    for axis in prunable(net):
        if is_read_across(entry, net, axis):
            kept[axis.name] = tuple(range(axis.size))
    plan = Plan(kept=kept)
    return Halved(entry, net, plan, cut(net, plan))


def is_read_across(entry: Entry, net: Network, axis: Axis) -> bool:
    """Whether something else than a weight reads across the units of `axis`."""
    name = entry.name.removesuffix("_mask_inspected")
    listed = any(model == name and part in axis.name for model, part in READ_ACROSS)
    return listed or is_normed_over(net, axis)


def is_normed_over(net: Network, axis: Axis) -> bool:
    """Whether the axis goes through a norm that takes its statistics over it."""
    parents = {member.tensor.rpartition(".")[0] for member in axis.members}
    kinds = {type(net.model.get_submodule(path)).__name__.lower() for path in parents}
    linear = ("batchnorm", "instancenorm", "spectralnorm")
    return any("norm" in kind and not any(one in kind for one in linear) for kind in kinds)


@torch.no_grad()
def zeroed(halved: Halved) -> nn.Module:
    """A copy of the original with zeros in every slice of every removed unit."""
    model = deepcopy(halved.net.model)
    state = {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers())}
    for name, by_dim in survivors(halved.net, halved.plan).items():
        tensor = state.get(name)
        if tensor is None or name.endswith("running_var") or not tensor.is_floating_point():
            continue
        for dim, kept in by_dim.items():
            gone = torch.ones(tensor.shape[dim], dtype=torch.bool)
            gone[torch.tensor(kept)] = False
            tensor.movedim(dim, 0)[gone] = 0
    return model


@torch.no_grad()
def run_as(dtype: torch.dtype, model: nn.Module, inputs: Inputs) -> list[Tensor]:
    """Outputs of a copy in `dtype`."""

    def cast(value: Tensor) -> Tensor:
        return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value

    copy = deepcopy(model).to(dtype)
    if isinstance(inputs, dict):
        return run(copy, {name: cast(value) for name, value in inputs.items()})
    return run(copy, tuple(cast(value) for value in inputs))
