"""Sizes that `torch.nn` layers keep beside their weights, as documented; read off the cut weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from torch import nn
from torch.nn.modules import batchnorm, conv, instancenorm, rnn

Reader = Callable[[Any], Mapping[str, Any]]


def _linear(layer: nn.Linear) -> Mapping[str, Any]:
    return {"out_features": layer.weight.shape[0], "in_features": layer.weight.shape[1]}


def _bilinear(layer: nn.Bilinear) -> Mapping[str, Any]:
    out, left, right = layer.weight.shape
    return {"out_features": out, "in1_features": left, "in2_features": right}


def _convolution(layer: conv._ConvNd) -> Mapping[str, Any]:
    first, second = layer.weight.shape[:2]
    if layer.transposed:
        return {"in_channels": first, "out_channels": second * layer.groups}
    return {"out_channels": first, "in_channels": second * layer.groups}


def _features(layer: batchnorm._NormBase) -> Mapping[str, Any]:
    vector = layer.weight if layer.affine else layer.running_mean
    return {"num_features": vector.shape[0]} if vector is not None else {}


def _group_norm(layer: nn.GroupNorm) -> Mapping[str, Any]:
    return {"num_channels": layer.weight.shape[0]} if layer.affine else {}


def _normalised(layer: nn.LayerNorm | nn.RMSNorm) -> Mapping[str, Any]:
    return {"normalized_shape": tuple(layer.weight.shape)} if layer.elementwise_affine else {}


def _embedding(layer: nn.Embedding) -> Mapping[str, Any]:
    return {"num_embeddings": layer.weight.shape[0], "embedding_dim": layer.weight.shape[1]}


def _prelu(layer: nn.PReLU) -> Mapping[str, Any]:
    return {"num_parameters": layer.weight.shape[0]}


def _recurrent(layer: rnn.RNNBase) -> Mapping[str, Any]:
    rows, width = layer.get_parameter("weight_ih_l0").shape
    found = {"input_size": width, "hidden_size": rows // _gates(layer)}
    return {**found, "proj_size": layer.get_parameter("weight_hr_l0").shape[0]} if layer.proj_size else found


def _cell(layer: rnn.RNNCellBase) -> Mapping[str, Any]:
    return {"input_size": layer.weight_ih.shape[1], "hidden_size": layer.weight_hh.shape[1]}


def _attention(layer: nn.MultiheadAttention) -> Mapping[str, Any]:
    if layer._qkv_same_embed_dim:
        rows, width = layer.in_proj_weight.shape
        inner = (rows - layer.out_proj.weight.shape[1]) // 2
        return {"embed_dim": width, "kdim": width, "vdim": width, "head_dim": inner // layer.num_heads}
    inner, width = layer.q_proj_weight.shape
    kdim, vdim = layer.k_proj_weight.shape[1], layer.v_proj_weight.shape[1]
    return {"embed_dim": width, "kdim": kdim, "vdim": vdim, "head_dim": inner // layer.num_heads}


def _transformer(layer: nn.Transformer) -> Mapping[str, Any]:
    first = next((m for m in layer.modules() if isinstance(m, nn.MultiheadAttention)), None)
    return {"d_model": _attention(first)["embed_dim"]} if first is not None else {}


def _gates(layer: rnn.RNNBase) -> int:
    return {"LSTM": 4, "GRU": 3}.get(layer.mode, 1)


MIRRORS: Mapping[type[nn.Module], Reader] = MappingProxyType(
    {
        nn.Linear: _linear,
        nn.Bilinear: _bilinear,
        conv._ConvNd: _convolution,
        batchnorm._NormBase: _features,
        instancenorm._InstanceNorm: _features,
        nn.GroupNorm: _group_norm,
        nn.LayerNorm: _normalised,
        nn.RMSNorm: _normalised,
        nn.Embedding: _embedding,
        nn.EmbeddingBag: _embedding,
        nn.PReLU: _prelu,
        nn.MultiheadAttention: _attention,
        nn.Transformer: _transformer,
        rnn.RNNBase: _recurrent,
        rnn.RNNCellBase: _cell,
    }
)


UNWEIGHTED: Mapping[type[nn.Module], str] = MappingProxyType(
    {batchnorm._NormBase: "num_features", nn.GroupNorm: "num_channels"}
)
"""Layers that may have no weight, and what they then call the size of dimension 1 of their input."""


def told_by_input(layer: nn.Module) -> str | None:
    """The attribute that says how many channels go into a layer which has no tensor to tell."""
    if next(layer.parameters(), None) is not None or next(layer.buffers(), None) is not None:
        return None
    return next((name for kind, name in UNWEIGHTED.items() if isinstance(layer, kind)), None)


def mirrored(layer: nn.Module) -> dict[str, Any]:
    """The size attributes of a `torch.nn` layer (or a subclass of one) as its weights have them now."""
    found: dict[str, Any] = {}
    for kind, read in MIRRORS.items():
        if isinstance(layer, kind):
            found |= read(layer)
    return {name: value for name, value in found.items() if name in vars(layer)}
