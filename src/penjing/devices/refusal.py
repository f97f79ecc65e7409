"""What a runtime says of an artifact that it does not run."""

from __future__ import annotations

from pathlib import Path

from penjing.errors import PenjingError


def refused(runtime: str, name: str, error: Exception) -> PenjingError:
    """PJ405, with the runtime's own words."""
    return PenjingError(
        "PJ405",
        f"{runtime} refuses `{name}`",
        because=" ".join(str(error).split())[:400],
        tries=["replace the operator that it names", "check the inputs against the model's own"],
    )


def existing(artifact: Path) -> Path:
    """The path itself, if there is a file.

    Raises:
        PenjingError: PJ404, there is none.
    """
    if not artifact.is_file():
        raise PenjingError("PJ404", f"there is no artifact `{artifact}`", tries=["export the model first"])
    return artifact
