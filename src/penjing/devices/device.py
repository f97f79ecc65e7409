"""What every device can say of itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

from penjing.devices.measurement import Provenance


class Device(ABC):
    """Something that can say what a network costs.

    Attributes:
        name: as in `DEVICES`.
        quantity: what it says: `latency`, `macs` or `params`.
        provenance: how it comes to know.
        summary: one line for `penjing devices`.
        form: of the artifact that it runs.
    """

    name: ClassVar[str]
    quantity: ClassVar[str]
    provenance: ClassVar[Provenance]
    summary: ClassVar[str]
    form: ClassVar[Literal["onnx", "pt2"]] = "onnx"

    @property
    def spec(self) -> str:
        """What `get` finds it by: its name, or the path of its sheet."""
        return self.name

    @abstractmethod
    def record(self) -> dict[str, Any]:
        """What a report says of the device: at least `name`, `runtime` and `threads`."""
