"""How much room an artifact takes."""

from __future__ import annotations

from pathlib import Path

from penjing.devices.measurement import Figure
from penjing.errors import PenjingError


def artifact_size(path: Path | str) -> Figure:
    """Bytes on disk of an artifact, with the file that large weights lie in.

    Raises:
        PenjingError: PJ404, there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise PenjingError("PJ404", f"there is no artifact `{path}`", tries=["export the model first"])
    files = [path, weights_beside(path)]
    return Figure("size", sum(file.stat().st_size for file in files if file.is_file()), "bytes", "measured")


def weights_beside(path: Path) -> Path:
    """Where the exporter puts weights that do not fit into the file."""
    return path.with_name(f"{path.name}.data")
