"""Recovery as part of a whole job."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import penjing as pj
from penjing.api import resume
from penjing.recover import Watch
from tests.api.models import accuracy, loss, patterns, small

EXAMPLE = patterns()[0][0][:4]


def by_macs(**options: Any) -> pj.Result:
    return pj.prune(small(), EXAMPLE, budget="macs=0.5x", device="macs", **options)


def my_loop(model: nn.Module, original: nn.Module) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for x, y in patterns() * 4:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()


def test_prune_runs_training_of_the_users_own(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning.pytorch")

    class Lit(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self, model: nn.Module, original: nn.Module) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: Any, place: int) -> Tensor:
            return loss(self.model(batch[0]), batch)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.model.parameters(), lr=1e-3)

    steps = [pj.Loop(my_loop), pj.Lightning(Lit, patterns(), {"max_epochs": 1, "accelerator": "cpu"})]
    result = by_macs(recover=steps, criterion="random", evaluate=accuracy)
    assert [step.method for step in result.report.recovery] == ["loop", "lightning"]
    assert result.report.after.metric is not None
    assert result.report.after.metric > 0.9
    recipe = tomllib.loads((result.save(tmp_path / "run") / "recipe.toml").read_text())
    assert recipe["recover"][0] == {"method": "Loop", "function": "my_loop"}
    assert recipe["recover"][1] == {
        "method": "Lightning", "module": "Lit", "trainer": {"max_epochs": 1, "accelerator": "cpu"},
    }  # fmt: skip


def test_prune_distils_the_units_that_its_plan_keeps() -> None:
    def run(weight: float) -> pj.Result:
        tuning = pj.FineTune(
            epochs=2,
            train=patterns(),
            lr=1e-2,
            ema=0.9,
            patience=2,
            feature_weight=weight,
            feature_loss="units",
        )
        return by_macs(recover=tuning, data=patterns(2), loss=loss, evaluate=accuracy)

    with_features, without = run(1.0), run(0.0)
    assert with_features.plan == without.plan
    (one,), (other,) = with_features.report.recovery, without.report.recovery
    assert one.options["feature_loss"] == "units"
    assert one.history[1].loss is not None
    assert other.history[1].loss is not None
    assert one.history[1].loss > other.history[1].loss, "a distance was added"
    mine, theirs = with_features.model.state_dict(), without.model.state_dict()
    assert not all(torch.equal(value, theirs[name]) for name, value in mine.items())


class Killed(BaseException):
    """What stands for a signal."""


@pytest.mark.parametrize("kill", [15], ids=["third epoch"])
def test_prune_goes_on_with_fine_tuning_bit_for_bit_when_killed(tmp_path: Path, kill: int) -> None:
    calls = iter(range(10**6))
    deadly = False

    def mine(outputs: Tensor, batch: Any) -> Tensor:
        if deadly and next(calls) == kill:
            raise Killed
        return nn.functional.cross_entropy(outputs, batch[1])

    def run(folder: Path) -> pj.Result:
        tuning = pj.FineTune(
            epochs=3, train=patterns(), lr=1e-2, ema=0.9, mixup=0.2, loss=mine, optimizer="sgd", nesterov=True
        )
        return by_macs(recover=tuning, criterion="magnitude", evaluate=accuracy, directory=folder)

    whole = run(tmp_path / "whole")
    deadly = True
    with pytest.raises(Killed):
        run(tmp_path / "killed")
    deadly = False
    again = run(tmp_path / "killed")
    mine_, theirs = whole.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in mine_.items())
    events = [json.loads(line) for line in (tmp_path / "killed" / "events.jsonl").read_text().splitlines()]
    assert [event["epoch"] for event in events if event["event"] == "epoch"] == [1, 2, 3]


def test_resume_tells_its_log_of_the_epochs_that_are_left(tmp_path: Path) -> None:
    class Told(Watch):
        def __init__(self) -> None:
            self.epochs: list[int] = []

        def event(self, kind: str, /, **figures: Any) -> None:
            if kind == "epoch":
                self.epochs.append(figures["epoch"])

    asked, before, after = iter(range(100)), Told(), Told()

    def judge(model: nn.Module) -> float:
        if next(asked) == 2:
            raise Killed
        return accuracy(model)

    task = pj.Task(small(), EXAMPLE, train=patterns(), calibration=patterns(1), evaluate=judge)
    given: dict[str, Any] = {
        "recover": pj.FineTune(epochs=3, train=patterns(), loss="label"), "criterion": "magnitude",
        "data": patterns(1), "evaluate": judge, "directory": tmp_path / "run", "log": before,
    }  # fmt: skip
    with pytest.raises(Killed):
        by_macs(**given)
    result = resume(tmp_path / "run", task=task, log=[after])
    assert before.epochs == [1]
    assert after.epochs == [2, 3]
    assert len(result.report.recovery[0].history) == 4
