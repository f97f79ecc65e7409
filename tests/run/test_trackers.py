"""Events really arrive in the files of TensorBoard and MLflow."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import penjing as pj
from penjing.recover import FineTune, Loss, Situation
from penjing.run import MLflow, TensorBoard, Tracker
from tests.api.models import loss, patterns, small
from tests.recover.models import classifier, clusters


class Numbers(Tracker):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[tuple[dict[str, float], int]] = []

    def write(self, numbers: Any, step: int) -> None:
        self.written.append((dict(numbers), step))


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard itself reads from a folder."""
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = events.EventAccumulator(str(folder))
    found.Reload()
    tags = found.Tags()["scalars"]
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in tags}


def test_tracker_takes_numbers_and_the_epoch_as_the_step() -> None:
    tracker = Numbers()
    tracker.event("stage", name="trace")
    tracker.event("epoch", epoch=3, loss=0.5, metric=None, seconds=2)
    tracker.event("candidate", macs=7, met=True)
    tracker.event("candidate", macs=6)
    assert tracker.written == [
        ({"epoch/loss": 0.5, "epoch/seconds": 2.0}, 3),
        ({"candidate/macs": 7.0}, 0),
        ({"candidate/macs": 6.0}, 1),
    ]


def test_tensorboard_reads_every_epoch(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    board = TensorBoard(tmp_path / "log")
    record = FineTune(epochs=3, train=clusters()).apply(classifier(), Situation(classifier(), watch=board))
    board.close()
    found = scalars(tmp_path / "log")["epoch/loss"]
    assert [step for step, _ in found] == [1, 2, 3]
    assert [value for _, value in found] == pytest.approx([e.loss for e in record.history[1:]], rel=1e-6)


def test_prune_tells_tensorboard_of_epochs_and_of_the_result(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    train = patterns()
    own: Loss = loss
    result = pj.prune(
        small(), train[0][0][:1], budget="macs=0.5x", device="macs", data=train, loss=own,
        recover=pj.FineTune(epochs=2, train=train), log=pj.TensorBoard(tmp_path / "log"),
    )  # fmt: skip
    found = scalars(tmp_path / "log")
    assert [step for step, _ in found["epoch/loss"]] == [1, 2]
    assert found["finished/macs"] == [(0, result.report.after.macs)]


def test_prune_refuses_a_log_that_is_none() -> None:
    with pytest.raises(pj.PenjingError, match="PJ106"):
        pj.prune(small(), torch.rand(1, 1, 12, 12), budget="macs=0.5x", device="macs", log="runs/log")  # type: ignore[arg-type]


def test_mlflow_reads_every_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a folder: databases need more packages
    tracker = MLflow("pruning", uri=tmp_path.as_uri())
    FineTune(epochs=2, train=clusters()).apply(classifier(), Situation(classifier(), watch=tracker))
    tracker.close()
    assert mlflow.active_run() is None
    (run,) = mlflow.search_runs(experiment_names=["pruning"], output_format="list")
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "epoch/loss")
    assert [metric.step for metric in history] == [1, 2]


@pytest.mark.parametrize(("make", "module", "extra"), [
    (lambda: TensorBoard("log"), "torch.utils.tensorboard", "tensorboard"),
    (lambda: MLflow(), "mlflow", "mlflow"),
], ids=["tensorboard", "mlflow"])  # fmt: skip
def test_trackers_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch, make: Any, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(pj.PenjingError, match="PJ333") as caught:
        make()
    assert f"penjing[{extra}]" in caught.value.tries[0]
