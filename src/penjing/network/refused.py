"""The answer to a model that is given in a form that is not read."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from penjing.errors import PenjingError

ACCEPTED: Final = "`file.py:task`, a function in a Python file that returns a `penjing.Task`"
_LATER: Final = (".onnx", ".keras", ".pt2")


def refused_source(source: object) -> PenjingError:
    """The error for a model that is given in a form that is not read."""
    suffix = Path(str(source)).suffix
    because = f"{suffix} files are not read yet" if suffix in _LATER else "that is no form of a model"
    return PenjingError(
        "PJ105",
        f"`{source}` cannot be read as a model",
        because=because,
        tries=[f"on the command line, give {ACCEPTED}", "in Python, give a torch.nn.Module"],
    )
