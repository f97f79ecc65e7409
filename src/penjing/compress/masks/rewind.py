"""Lottery tickets: the masks of a trained network on the weights that it had before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from penjing.compress.masks.module import apply, mask_on, parameters, strip, zero
from penjing.errors import PenjingError


def rewind(model: nn.Module, masks: Mapping[str, Tensor], earlier: Mapping[str, Any]) -> nn.Module:
    """Gives a model the state that it had before, in place, with zeros where its masks have them.

    With the state of the initialisation this is the lottery ticket; at scale, tickets win only with a state
    from some steps into the training. The optimizer has to be made anew, and its schedule begins where
    that state was taken. To rewind the learning rate alone, which does as well or better (Renda et al.
    2020), do not call
    this: go on with the trained weights under their masks, a new optimizer and the schedule from the
        beginning.

    Args:
        model: trained; with masks as parametrizations, it has `masks` so afterwards, and else plain zeros.
        masks: parameter name -> bool.
        earlier: `copy.deepcopy(model.state_dict())` of a model without masks, at initialisation or step k.

    Returns:
        The model.

    Raises:
        PenjingError: PJ814, the state or a mask does not fit the model, which is as it was.

    Source: Frankle & Carbin 2019, arXiv:1803.03635; from step k: Frankle et al. 2020, arXiv:1912.05671;
    rates: Renda, Frankle & Carbin 2020, arXiv:2003.02389.
    """
    on = {name: found.mask for name, module, own in parameters(model) if (found := mask_on(module, own))}
    strip(model)
    own = model.state_dict()
    wrong = sorted(own.keys() ^ earlier.keys()) or [
        name
        for name, value in own.items()
        if isinstance(value, Tensor) and value.shape != earlier[name].shape
    ]
    if wrong:
        apply(model, on)
        raise PenjingError(
            "PJ814",
            f"the earlier state does not fit `{type(model).__name__}`",
            because=f"{len(wrong)} names or shapes differ: {', '.join(wrong[:3])}",
            tries=["deepcopy(model.state_dict()), taken before any mask was on"],
        )
    now = {name: value.detach().clone() for name, value in own.items() if isinstance(value, Tensor)}
    try:
        with torch.no_grad():
            model.load_state_dict(earlier)
        return apply(model, masks) if on else zero(model, masks)
    except PenjingError:
        model.load_state_dict({**own, **now})
        apply(model, on)
        raise
