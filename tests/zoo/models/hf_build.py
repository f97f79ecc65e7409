"""How a model of `transformers` gets into the zoo: a class, a small configuration, a seed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from tests.zoo.entry import Entry, Inputs

BATCH = 2
TOKENS = 10
VOCABULARY = 120

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
"""What most configurations of `transformers` call their sizes."""

SPECIAL = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
"""A vocabulary so small needs its special tokens inside it."""


def entry(
    name: str,
    kind: str,
    inputs: Callable[[], Inputs],
    settings: dict[str, Any],
    *,
    alone: str | None = None,
    refused: bool = False,
    onnx: bool = True,
) -> Entry:
    """A zoo entry for the class `kind` of `transformers`, configured by `settings`.

    Args:
        name: unique in the zoo.
        kind: name of the class.
        inputs: makes the example inputs.
        settings: keyword arguments of the class's configuration.
        alone: the only output to return. Encoder-decoders and two-tower models return hidden states too, and
            an axis that is returned cannot be cut; whoever deploys such a model returns the logits alone.
        refused: see `Entry`.
        onnx: see `Entry`.
    """
    build = partial(_build, kind, settings)
    return Entry(name, build if alone is None else partial(Alone.of, build, alone), inputs, refused, onnx)


def sentence(length: int = TOKENS, seed: int = 0) -> Callable[[], Tensor]:
    """A batch of token ids without special tokens."""
    return lambda: torch.randint(3, VOCABULARY, (BATCH, length), generator=_seeded(seed))


def tokens(*, masked: bool = False) -> Callable[[], Inputs]:
    """A sentence for each of the batch; if `masked`, the second is three tokens shorter."""

    def make() -> Inputs:
        ids = sentence()()
        if not masked:
            return {"input_ids": ids}
        mask = torch.ones_like(ids)
        mask[1, -3:] = 0
        return {"input_ids": ids, "attention_mask": mask}

    return make


def images(side: int = 32, channels: int = 3) -> Callable[[], Inputs]:
    """Square images of normal noise, passed by position."""
    return lambda: (_noise(BATCH, channels, side, side),)


def captioned(side: int = 32) -> Callable[[], Inputs]:
    """Sentences and images, as the two-tower models are called."""
    return noise("pixel_values", BATCH, 3, side, side, input_ids=sentence())


def translated() -> Callable[[], Inputs]:
    """A sentence for an encoder and a shorter one for a decoder."""
    return lambda: {"input_ids": sentence()(), "decoder_input_ids": sentence(7, seed=1)()}


def noise(name: str, *shape: int, **more: Callable[[], Tensor]) -> Callable[[], Inputs]:
    """Normal noise of `shape` under `name`, and whatever `more` makes."""
    return lambda: {name: _noise(*shape), **{key: make() for key, make in more.items()}}


class Alone(nn.Module):
    """A model that returns one output of another."""

    def __init__(self, model: nn.Module, output: str) -> None:
        super().__init__()
        self.model = model
        self.output = output

    def forward(self, *args: Tensor, **kwargs: Tensor) -> Tensor:
        output: Tensor = self.model(*args, **kwargs)[self.output]
        return output

    @classmethod
    def of(cls, build: Callable[[], nn.Module], output: str) -> Alone:
        return cls(build(), output).eval()


def _build(kind: str, settings: dict[str, Any]) -> nn.Module:
    model_class = getattr(transformers, kind)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        model: nn.Module = model_class(model_class.config_class(**settings))
        _unsettle(model)
    return model.eval()


def _unsettle(model: nn.Module) -> None:
    """Move what starts as zeros and ones, so that no bias, scale or statistic can be cut wrongly unseen."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.add_(torch.randn_like(buffer), alpha=0.1)
            elif name.endswith("running_var"):
                buffer.mul_(torch.rand_like(buffer) + 0.5)


def _noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=_seeded())


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
