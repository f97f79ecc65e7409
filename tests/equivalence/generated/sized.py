"""A layer that prints the numbers it was made with."""

from __future__ import annotations

from torch import nn


class Sized(nn.Module):
    """Base of the generated layers: `extra_repr` lists plain attributes."""

    def extra_repr(self) -> str:
        plain = {k: v for k, v in vars(self).items() if isinstance(v, int | str | tuple) and k != "training"}
        return ", ".join(f"{key}={value}" for key, value in plain.items())
