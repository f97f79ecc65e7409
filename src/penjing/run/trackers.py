"""Events of a job for TensorBoard and MLflow."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penjing.recover import Watch
from penjing.recover.guard import optional


class Tracker(Watch):
    """Takes the numbers out of events: `kind/name` at a step.

    The step is the number of the epoch where an event has one, so that a run that goes on writes on; else how
    many events of its kind came before.
    """

    def __init__(self) -> None:
        """Has seen nothing yet."""
        self._counts: Counter[str] = Counter()

    def event(self, kind: str, /, **figures: Any) -> None:
        """Writes the numbers of an event."""
        step = figures.pop("epoch", self._counts[kind])
        self._counts[kind] += 1
        numbers = {
            f"{kind}/{name}": float(value)
            for name, value in figures.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        if numbers:
            self.write(numbers, int(step))

    @abstractmethod
    def write(self, numbers: Mapping[str, float], step: int) -> None:
        """Keeps numbers by name."""


class TensorBoard(Tracker):
    """Writes an event file that TensorBoard shows. Needs `pip install "penjing[tensorboard]"`.

    Attributes:
        directory: where the event file goes; made if need be.
    """

    def __init__(self, directory: Path | str) -> None:
        """Writes nothing before the first event.

        Raises:
            PenjingError: PJ333, TensorBoard is not installed.
        """
        super().__init__()
        self.directory = Path(directory)
        self._tensorboard = optional("torch.utils.tensorboard", "pj.TensorBoard", "tensorboard")
        self._writer: Any = None

    def write(self, numbers: Mapping[str, float], step: int) -> None:
        """Adds scalars, and sees to it that they are on the disk."""
        if self._writer is None:
            self._writer = self._tensorboard.SummaryWriter(str(self.directory))
        for name, number in numbers.items():
            self._writer.add_scalar(name, number, step)
        self._writer.flush()

    def close(self) -> None:
        """Closes the event file."""
        if self._writer is not None:
            self._writer.close()
        self._writer = None


class MLflow(Tracker):
    """Logs to MLflow: to the run that is active, else to a new one. Needs `pip install "penjing[mlflow]"`.

    Attributes:
        experiment: name of the experiment of a new run; None for MLflow's own choice.
        uri: of the tracking server or folder; None for MLflow's own choice (`MLFLOW_TRACKING_URI`).
    """

    def __init__(self, experiment: str | None = None, *, uri: str | None = None) -> None:
        """Begins no run before the first event.

        Raises:
            PenjingError: PJ333, MLflow is not installed.
        """
        super().__init__()
        self.experiment, self.uri = experiment, uri
        self._mlflow = optional("mlflow", "pj.MLflow", "mlflow")
        self._begun = False

    def write(self, numbers: Mapping[str, float], step: int) -> None:
        """Logs metrics."""
        if not self._begun and self._mlflow.active_run() is None:
            if self.uri is not None:
                self._mlflow.set_tracking_uri(self.uri)
            if self.experiment is not None:
                self._mlflow.set_experiment(self.experiment)
            self._mlflow.start_run()
            self._begun = True
        self._mlflow.log_metrics(dict(numbers), step=step)

    def close(self) -> None:
        """Ends the run, if it was begun here."""
        if self._begun:
            self._mlflow.end_run()
        self._begun = False
