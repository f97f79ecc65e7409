"""A copy of the user's model, or why there can be none."""

from __future__ import annotations

from torch import nn

from penjing.devices.export import own_words
from penjing.errors import PenjingError
from penjing.network.copied import copied


def copy_of(model: nn.Module) -> nn.Module:
    """A model of its own.

    Raises:
        PenjingError: PJ804, it cannot be copied.
    """
    try:
        made: nn.Module = copied(model)
    except Exception as error:  # of whatever the user's objects are
        raise PenjingError(
            "PJ804",
            f"`{type(model).__name__}` cannot be copied",
            because=own_words(error),
            tries=["keep locks, files and the like outside of the model"],
        ) from error
    return made
