"""`penjing.api.profile`: what a model costs on a device."""

from __future__ import annotations

from typing import Any

from torch import nn

from penjing.api.targets import device_named
from penjing.devices import Device
from penjing.network.refused import refused_source
from penjing.run import profile as profiled


def profile(
    model: nn.Module,
    example_inputs: Any,
    *,
    device: Device | str = "cpu",
    threads: int = 1,
    seed: int = 0,
    fresh: bool = False,
) -> dict[str, Any]:
    """Measures a model on a device, the whole and operator by operator.

    What was measured is kept in the cache, and given again for the same model, code, inputs and device.

    Args:
        model: a PyTorch module.
        example_inputs: a tensor, a tuple or a dict, as the model is called.
        device: where it must run; a name of `penjing devices`, or a device.
        threads: of the device, where it is given by name.
        seed: of the networks that the latency model is fitted to.
        fresh: measure again whatever is kept.

    Returns:
        A record that survives JSON.

    Raises:
        PenjingError: the model cannot be traced or exported, or there is no such device.
    """
    if not isinstance(model, nn.Module):
        raise refused_source(model)
    return profiled(model, example_inputs, device_named(device, threads), seed=seed, fresh=fresh)
