"""A device that calibration networks were carried to: what it was timed at there, and what follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from penjing.devices.costs import CostModel, Sample, signature
from penjing.devices.estimating import Estimating
from penjing.devices.measurement import Provenance
from penjing.devices.stairs import Stairs
from penjing.errors import PenjingError
from penjing.network import Network, Operator

Above = Annotated[float, Field(gt=0, allow_inf_nan=False)]

LEAST_BAND: Final = 0.02
"""Nothing that is predicted is known better than this."""


class Timed(BaseModel):
    """One network and what it took.

    Attributes:
        counts: units that its axes keep; others keep all.
        ms: median of a run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    counts: dict[str, int]
    ms: Above


class Calibration(BaseModel):
    """The content of the file that `penjing calibrate --measured` writes.

    Attributes:
        kind: tells it from other JSON files.
        name: of the device.
        model: class of the network that it was calibrated for.
        network: the signature of that network's operators and shapes.
        cpu: of the device, in its own words.
        runtime: that timed there.
        threads: inside an operator.
        stairs: widths that the device works in.
        networks: the original first.
        date: of the import.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["penjing calibration"] = "penjing calibration"
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    model: str
    network: str
    cpu: str
    runtime: str
    threads: Annotated[int, Field(ge=1)]
    stairs: dict[str, int]
    networks: Annotated[tuple[Timed, ...], Field(min_length=2)]
    date: str


@dataclass(frozen=True)
class Carried(Estimating):
    """What a device elsewhere takes, predicted from networks that were timed there.

    Attributes:
        calibration: the content of its file.
        path: of the file.
    """

    calibration: Calibration
    path: Path
    quantity: ClassVar[str] = "latency"
    provenance: ClassVar[Provenance] = "analytic"

    @classmethod
    def read(cls, path: Path) -> Carried:
        """From its file.

        Raises:
            PenjingError: PJ412, it is none.
        """
        try:
            return cls(Calibration.model_validate_json(path.read_text(encoding="utf-8")), path)
        except (OSError, UnicodeDecodeError, ValidationError) as error:
            because = str(error) if isinstance(error, OSError) else " ".join(str(error).split())[:300]
            raise PenjingError(
                "PJ412",
                f"`{path}` is no calibration of a device",
                because=because,
                tries=["penjing calibrate MODEL --bundle FOLDER", "docs/how-to/measure-elsewhere.md"],
            ) from error

    @property
    def name(self) -> str:  # type: ignore[override]
        """As it was called at the import."""
        return self.calibration.name

    @property
    def summary(self) -> str:  # type: ignore[override]
        """Where its times were taken."""
        return f"{self.calibration.cpu}: predicted from networks that were timed there"

    @property
    def spec(self) -> str:
        """The path of the file."""
        return str(self.path)

    @property
    def stairs(self) -> Stairs:
        """As they were read off operators that were timed there."""
        return Stairs(**self.calibration.stairs)

    @property
    def content(self) -> str:
        """The file's."""
        return self.calibration.model_dump_json()

    def estimate(self, net: Network) -> Fitted:
        """What networks cut from `net` will take there.

        Raises:
            PenjingError: PJ412, the calibration is of another network.
        """
        found = self.calibration
        if signature(net) != found.network:
            raise PenjingError(
                "PJ412",
                f"`{self.path}` was measured for another network",
                because=f"it is of a `{found.model}` with other operators or sizes than this "
                f"`{type(net.model).__name__}` on these example inputs",
                tries=["penjing calibrate MODEL --bundle FOLDER, for this model", "its own example inputs"],
            )
        samples = [Sample(dict(one.counts), one.ms) for one in found.networks]
        return Fitted(CostModel(net, self.stairs, samples, "wall"))

    def record(self) -> dict[str, Any]:
        """The machine, and how many networks were timed on it."""
        found = self.calibration
        return {
            "name": self.name,
            "runtime": found.runtime,
            "threads": found.threads,
            "provenance": self.provenance,
            "cpu": found.cpu,
            "networks": len(found.networks),
            "date": found.date,
        }


class Fitted:
    """Prices by a model that was fitted to the networks that were timed."""

    vectorised: bool = False

    def __init__(self, model: CostModel) -> None:
        """Takes the model as it is."""
        self._model = model
        self.quantities: tuple[str, ...] = ("latency",)
        self.band = max(LEAST_BAND, model.error.worst)

    def total(self, quantity: str, counts: Mapping[str, int]) -> float:
        """Milliseconds of the whole network."""
        return self._model.latency_ms(counts)

    def figures(self, counts: Mapping[str, int]) -> dict[str, float]:
        """The latency."""
        return {"latency": self._model.latency_ms(counts)}

    def constant(self, quantity: str) -> float:
        """Everything is some operator's."""
        return 0.0

    def operator(self, quantity: str, operator: Operator, counts: Mapping[str, Any]) -> Any:
        """One operator's part."""
        return self._model.operator_ms(operator, counts)

    def alone(self, operator: Operator) -> bool:
        """Whether it costs anything at all."""
        return self._model.operator_ms(operator, {}) > 0
