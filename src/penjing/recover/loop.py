"""The user's own training loop as a step."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from penjing.errors import PenjingError
from penjing.recover.guard import checked_function, guarded
from penjing.recover.step import RecoveryRecord, Situation, Step


@dataclass(frozen=True)
class Loop(Step):
    """Calls a function that trains the cut model in place.

    Random numbers follow from the job's seed. When the function is done, shapes and types of all tensors must
    be as before and all values finite; modes are put back, and so are frozen parameters. If it fails, the
    weights are as before it.

    Attributes:
        function: (model, original) -> anything: the cut model, in training mode, and the one before the cut,
            in eval mode. A model that it returns must be the one it was given.
    """

    function: Callable[[nn.Module, nn.Module], object]

    def __post_init__(self) -> None:
        """Refuses what is no function.

        Raises:
            PenjingError: PJ313.
        """
        checked_function(self.function, "pj.Loop")

    def apply(self, model: nn.Module, situation: Situation) -> RecoveryRecord:
        """Trains in place.

        Raises:
            PenjingError: PJ330, the function raises; PJ331, it changes shapes, or returns another model;
                PJ332, it leaves NaN.
        """
        start = time.perf_counter()
        name = getattr(self.function, "__name__", type(self.function).__name__)
        with guarded(model, situation, f"the training loop `{name}`") as notes:
            model.train()
            returned: Any = self.function(model, situation.original)
            if isinstance(returned, nn.Module) and returned is not model:
                raise PenjingError(
                    "PJ331",
                    f"the training loop `{name}` returns another model",
                    because="the model that it is given must be trained in place",
                    tries=["model.load_state_dict(trained.state_dict()) at the end of it"],
                )
        seconds = time.perf_counter() - start
        return RecoveryRecord(method="loop", options={"function": name}, seconds=seconds, notes=tuple(notes))
