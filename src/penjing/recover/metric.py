"""The user's own figure of merit, checked."""

from __future__ import annotations

import math

from torch import Tensor, nn

from penjing.errors import PenjingError
from penjing.network.batch import kept_modes
from penjing.network.trace import where
from penjing.recover.step import Evaluate


def measured(evaluate: Evaluate, model: nn.Module) -> float:
    """`evaluate(model)` with the model in eval mode, which is put back afterwards.

    Raises:
        PenjingError: PJ315, the function raises, or gives something else than a finite number.
    """
    try:
        with kept_modes(model):
            given: object = evaluate(model.eval())
            found = float(given.detach() if isinstance(given, Tensor) else given)  # type: ignore[arg-type]
    except PenjingError:
        raise
    except Exception as error:  # the user's own code: whatever it raises is reported with its place
        raise PenjingError(
            "PJ315", "`evaluate` fails", because=f"{type(error).__name__}: {error}", path=where(error)
        ) from error
    if not math.isfinite(found):
        raise PenjingError(
            "PJ315",
            f"`evaluate` gives {found}",
            because="models are compared by it: it must be a finite number, higher for better",
        )
    return found
