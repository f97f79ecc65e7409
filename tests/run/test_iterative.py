"""Networks that are cut a little at a time, down to a budget or to a floor."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import penjing as pj
from penjing.report import RoundLine
from penjing.surgery import cut
from tests.api.models import Small, accuracy, loss, patterns, trained
from tests.run.jobs import same_weights


@cache
def _state() -> dict[str, torch.Tensor]:
    return trained().state_dict()


def model() -> Small:
    made = Small()
    made.load_state_dict(_state())
    return made.eval()


def pruned(folder: Path | None = None, **changed: Any) -> pj.Result:
    options: dict[str, Any] = {
        "budget": "macs=0.3x", "device": "macs", "data": patterns(2), "loss": loss, "evaluate": accuracy,
        "recover": pj.Reconstruct(), "schedule": pj.Iterative(rounds=3),
    }  # fmt: skip
    given = {**options, **changed}
    return pj.prune(given.pop("model", None) or model(), patterns()[0][0][:4], directory=folder, **given)


def close(model: nn.Module) -> float:
    """A metric of many values: how near the outputs are to the original's."""
    with torch.no_grad():
        inputs = patterns(1, 64, seed=9)[0][0]
        return -float((model(inputs) - _reference(inputs)).abs().mean())


def _reference(inputs: torch.Tensor) -> torch.Tensor:
    return model()(inputs)


@pytest.fixture(scope="module")
def rounds(tmp_path_factory: pytest.TempPathFactory) -> tuple[pj.Result, Path]:
    folder = tmp_path_factory.mktemp("rounds") / "run"
    return pruned(folder), folder


def test_every_round_is_in_the_report_and_the_last_one_is_shipped(rounds: tuple[pj.Result, Path]) -> None:
    report = rounds[0].report
    before = report.before.macs
    assert [line.limits["macs"] for line in report.rounds] == pytest.approx(
        [before * 0.3 ** (n / 3) for n in (1, 2, 3)]
    )
    assert all(line.measured["macs"] <= line.limits["macs"] for line in report.rounds)
    assert [line.shipped for line in report.rounds] == [False, False, True]
    assert [line.recovery[0].method for line in report.rounds] == ["reconstruct"] * 3
    assert all(line.held is None and line.metric is not None for line in report.rounds)
    assert report.rounds[-1].kept == rounds[0].plan.counts()
    assert report.after.macs == report.rounds[-1].measured["macs"]
    assert report.after.metric == pytest.approx(report.rounds[-1].metric)
    assert report.budget[0].met
    assert type(report).model_validate_json(report.to_json()) == report


def test_what_is_loaded_is_the_result_bit_for_bit(rounds: tuple[pj.Result, Path]) -> None:
    result, folder = rounds
    loaded = pj.load(folder, Small)
    assert same_weights(loaded, result.model)
    inputs = patterns()[1][0]
    assert torch.equal(loaded.eval()(inputs), result.model.eval()(inputs))


def test_one_cut_of_the_original_has_the_shapes_of_the_result(rounds: tuple[pj.Result, Path]) -> None:
    result = rounds[0]
    once = cut(pj.trace(model(), patterns()[0][0][:4]), result.plan)
    assert once.proof.passed
    assert result.proof.passed
    state = {name: tensor.shape for name, tensor in once.model.state_dict().items()}
    assert {name: tensor.shape for name, tensor in result.model.state_dict().items()} == state
    once.model.load_state_dict(result.model.state_dict())
    inputs = patterns()[1][0]
    assert torch.equal(once.model.eval()(inputs), result.model.eval()(inputs))


def test_the_same_job_gives_the_same_network_again(rounds: tuple[pj.Result, Path]) -> None:
    again = pruned()
    assert again.plan == rounds[0].plan
    assert same_weights(again.model, rounds[0].model)


def lines(result: pj.Result) -> tuple[RoundLine, ...]:
    return result.report.rounds


def test_the_floor_holds_for_what_is_returned_and_the_next_smaller_network_breaks_it() -> None:
    result = pruned(budget="macs=0.05x,metric>=-0.1", evaluate=close)
    tried = sorted(lines(result), key=lambda line: -line.measured["macs"])
    shipped = next(number for number, line in enumerate(tried) if line.shipped)
    assert [line.held for line in tried] == [True] * (shipped + 1) + [False] * (len(tried) - shipped - 1)
    assert shipped + 1 < len(tried)
    assert result.report.after.macs == tried[shipped].measured["macs"]
    assert close(result.model) == tried[shipped].metric
    by_name = {line.quantity: line for line in result.report.budget}
    assert by_name["metric"].met
    assert by_name["metric"].limit == -0.1
    assert by_name["metric"].achieved == result.report.after.metric
    assert not by_name["macs"].met
    assert any("metric>=-0.1 goes first" in note for note in result.report.notes)


def test_a_floor_alone_goes_on_until_it_breaks_and_then_halves_the_way() -> None:
    result = pruned(budget=pj.Budget(metric=-0.1), evaluate=close, schedule=pj.Iterative(shrink=0.5))
    shares = [line.limits["macs"] / result.report.before.macs for line in lines(result)]
    first = [line.held for line in lines(result)].index(False) + 1
    assert shares[:first] == pytest.approx([0.5**n for n in range(1, first + 1)])
    assert shares[first] == pytest.approx((shares[first - 1] * shares[first - 2]) ** 0.5)
    assert len(shares) == first + 3
    held = [line.measured["macs"] for line in lines(result) if line.held]
    broken = [line.measured["macs"] for line in lines(result) if not line.held]
    assert min(held) == result.report.after.macs
    assert max(m for m in broken if m <= min(held)) > 0.5 * min(held)
    assert [line.quantity for line in result.report.budget] == ["metric"]
    assert close(result.model) >= -0.1


def test_a_network_whose_shipped_file_breaks_the_floor_is_not_returned() -> None:
    files: list[nn.Module] = []

    def evaluate(model: nn.Module) -> float:
        if type(model).__name__ == "Shipped":
            files.append(model)
        spoilt = len(files) == 2 and model is files[1]  # the first is the original's
        return close(model) - spoilt

    result = pruned(budget="macs=0.4x,metric>=-0.5", evaluate=evaluate, schedule=pj.Iterative(rounds=2))
    assert [line.shipped for line in lines(result)] == [True, False]
    assert [line.held for line in lines(result)] == [True, True]
    assert result.report.after.macs == lines(result)[0].measured["macs"]
    assert [line.met for line in result.report.budget] == [False, True]


def test_a_floor_that_nothing_breaks_ends_at_the_smallest_network() -> None:
    schedule = pj.Iterative(shrink=0.2)
    result = pruned(budget="metric>=-1000", evaluate=close, schedule=schedule, recover=None)
    assert all(line.held for line in lines(result))
    assert lines(result)[-1].shipped
    assert result.report.after.macs < 0.05 * result.report.before.macs


def test_a_floor_holds_for_a_single_cut_too() -> None:
    result = pruned(budget="macs=0.05x,metric>=-0.15", evaluate=close, schedule=None)
    assert lines(result)[0].limits["macs"] == pytest.approx(0.05 * result.report.before.macs)
    assert [line.held for line in lines(result)].count(False) >= 1
    assert not lines(result)[0].held
    assert len(lines(result)) == 4
    assert close(result.model) >= -0.15


def test_a_floor_relative_to_the_original_is_one() -> None:
    result = pruned(budget="macs=0.5x,metric>=0.5x", schedule=pj.Iterative(rounds=2))
    before, after = result.report.before.metric, result.report.after.metric
    assert before is not None
    assert after is not None
    assert after >= 0.5 * before
    assert result.report.budget[1].limit == pytest.approx(0.5 * before)
    assert result.report.budget[1].asked == "0.5x"
    assert all(line.met for line in result.report.budget)


def test_steps_between_rounds_may_be_others_than_those_at_the_end() -> None:
    schedule = pj.Iterative(rounds=2, spacing="linear", recover=())
    result = pruned(schedule=schedule, recover=pj.BatchNorm())
    assert [line.recovery for line in lines(result)] == [(), ()]
    assert [step.method for step in result.report.recovery] == ["batch_norm"]
    both = pruned(schedule=pj.Iterative(rounds=2, recover=pj.BatchNorm()), recover=pj.Reconstruct())
    assert [[step.method for step in line.recovery] for line in lines(both)] == [["batch_norm"]] * 2
    assert [step.method for step in both.report.recovery] == ["batch_norm", "reconstruct"]


def test_rounds_without_recovery_and_without_scores_that_change_are_one_cut() -> None:
    given: dict[str, Any] = {
        "criterion": "magnitude",
        "normalise": "none",
        "aggregate": "sum",
        "recover": None,
    }
    alone = {"only": ["inner"], "evaluate": None, **given}
    assert pruned(schedule=pj.Iterative(rounds=3), **alone).plan == pruned(schedule=None, **alone).plan


def test_units_and_exact_numbers_are_spread_over_the_rounds() -> None:
    result = pruned(budget="units=0.5x", exact={"inner": 8}, recover=None, schedule=pj.Iterative(2, "linear"))
    assert [line.limits for line in lines(result)] == [{"units": 0.75}, {"units": 0.5}]
    assert [line.kept["inner"] for line in lines(result)] == [20, 8]
    assert all(a.kept[name] >= b.kept[name] for a, b in pairwise(lines(result)) for name in a.kept)


@pytest.mark.parametrize(
    ("changed", "code", "says"),
    [
        ({"budget": "metric>=0.5", "evaluate": None}, "PJ513", "evaluate"),
        ({"budget": "metric>=2"}, "PJ514", "above the metric of the original, 1"),
        ({"budget": "metric>=0.9x", "evaluate": lambda _: -0.5}, "PJ514", "-0.45"),
        (
            {
                "budget": "macs=0.1x,metric>=-1e-9",
                "evaluate": close,
                "schedule": pj.Iterative(2, bisections=1),
            },
            "PJ512",
            "the best of 2 networks has -0.",
        ),
        ({"budget": "macs=0.0001x"}, "PJ503", "the smallest reachable"),
        ({"schedule": "geometric"}, "PJ106", "pj.Iterative(rounds=4)"),
    ],
)
def test_what_cannot_be_is_refused(changed: dict[str, Any], code: str, says: str) -> None:
    with pytest.raises(pj.PenjingError) as caught:
        pruned(**changed)
    assert caught.value.code == code
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [{"rounds": 0}, {"rounds": 2.5}, {"rounds": True}, {"spacing": "square"}, {"shrink": 1.0}, {"shrink": 0},
     {"bisections": -1}, {"recover": [3]}],
)  # fmt: skip
def test_a_schedule_refuses_what_cannot_be_meant(options: dict[str, Any]) -> None:
    with pytest.raises(pj.PenjingError) as caught:
        pj.Iterative(**options)
    assert caught.value.code == "PJ515"
    assert next(iter(options)) in str(caught.value)


@pytest.mark.parametrize("calls", [2, 3])
def test_a_run_that_is_stopped_between_rounds_goes_on_to_the_same_network(
    rounds: tuple[pj.Result, Path], tmp_path: Path, calls: int
) -> None:
    seen: list[int] = []

    def stopping(model: nn.Module) -> float:
        seen.append(1)
        if len(seen) == calls:
            raise KeyboardInterrupt
        return accuracy(model)

    with pytest.raises(KeyboardInterrupt, match="goes on from here"):
        pruned(tmp_path / "run", evaluate=stopping)
    done = {path.name for path in (tmp_path / "run" / "steps").iterdir()}
    assert any(f"round-{calls}-recover-1-Reconstruct" in name for name in done)
    result = pruned(tmp_path / "run")
    assert result.plan == rounds[0].plan
    assert same_weights(result.model, rounds[0].model)
    assert [line.kept for line in lines(result)] == [line.kept for line in lines(rounds[0])]
    for name in ("model.safetensors", "surgery.json", "plan.json", "model.onnx"):
        assert (tmp_path / "run" / name).read_bytes() == (rounds[1] / name).read_bytes()
    with pytest.raises(pj.PenjingError, match="PJ610") as caught:
        pruned(tmp_path / "run", schedule=pj.Iterative(rounds=2))
    assert "rounds = 2" in str(caught.value)
