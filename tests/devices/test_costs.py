from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from penjing.devices import CostModel, Cpu, Stairs, to_onnx
from penjing.devices.cache import Cache
from penjing.devices.costs import Sample
from penjing.devices.fit import priced
from penjing.devices.fusion import folded
from penjing.devices.terms import terms_of
from penjing.devices.widths import sample
from penjing.errors import PenjingError
from penjing.network import Network, trace
from tests.devices.models import image, residual

STAIRS = Stairs(conv_out=16, conv_in=16, conv_even=4, depthwise_even=4, linear_out=16)
TRUE = {
    "conv:macs": 1.1,
    "conv:bytes": 0.5,
    "conv:weights": 0.6,
    "conv:calls": 3.0,
    "conv_few:macs": 2.0,
    "conv_odd:macs": 1.4,
    "conv_odd:columns": 1.0,
    "linear:weights": 1.0,
    "add:bytes": 0.2,
    "other:calls": 1.0,
}


@pytest.fixture(scope="module")
def net() -> Network:
    return trace(residual(), image())


def true_ms(net: Network, counts: Mapping[str, int]) -> float:
    """What a network would take on a device of known rates."""
    parts = folded(net.operators)
    return sum(priced(terms_of(op, counts, STAIRS), TRUE) for op in net.operators if op.name not in parts)


def samples(net: Network, number: int, seed: int = 0) -> list[Sample]:
    steps = {"stem.0": 4, "inner": 4}
    return [Sample(c, true_ms(net, c)) for c in sample(net, steps, networks=number, odd=True, seed=seed)]


def test_model_predicts_networks_that_it_has_not_seen(net: Network) -> None:
    model = CostModel(net, STAIRS, samples(net, 12), "cpu")
    for unseen in samples(net, 20, seed=9):
        assert model.latency_ms(unseen.counts) == pytest.approx(unseen.ms, rel=0.03)


def test_error_is_that_of_networks_left_out(net: Network) -> None:
    error = CostModel(net, STAIRS, samples(net, 12), "cpu").error
    assert error.networks == 12
    assert 0 <= error.median <= error.worst
    assert error.median < 0.03


def test_error_shows_when_measurements_are_nonsense(net: Network) -> None:
    shuffled = samples(net, 12)
    wrong = [Sample(a.counts, b.ms) for a, b in zip(shuffled, reversed(shuffled), strict=True)]
    assert CostModel(net, STAIRS, wrong, "cpu").error.median > 0.2


def test_axes_that_are_not_named_keep_all(net: Network) -> None:
    model = CostModel(net, STAIRS, samples(net, 6), "cpu")
    assert model.latency_ms({}) == model.latency_ms({"stem.0": 32, "inner": 48})
    assert model.latency_ms({"inner": 16}) == model.latency_ms({"stem.0": 32, "inner": 16})


def test_latency_follows_the_staircase(net: Network) -> None:
    model = CostModel(net, STAIRS, samples(net, 12), "cpu")
    steps = [model.latency_ms({"inner": width}) for width in (20, 32, 36, 48)]
    within, across = steps[1] - steps[0], steps[2] - steps[1]
    assert 0 <= within < 0.2 * across


def test_operators_add_up_to_the_network(net: Network) -> None:
    model, counts = CostModel(net, STAIRS, samples(net, 12), "cpu"), {"stem.0": 16, "inner": 20}
    costs = model.per_operator(counts)
    whole = model.latency_ms(counts)
    assert sum(cost.ms for cost in costs) == pytest.approx(whole)
    assert sum(cost.share for cost in costs) == pytest.approx(1)
    assert sum(model.operator_ms(operator, counts) for operator in net.operators) == pytest.approx(whole)
    assert [cost.name for cost in costs] == [
        "conv2d",
        "conv2d_1",
        "conv2d_2",
        "add",
        "relu_2",
        "mean",
        "linear",
    ]
    assert costs[1].folds == ("batch_norm_1", "relu_1")
    assert costs[1].output == (1, 20, 16, 16)
    assert costs[1].module == "inner"


def test_update_moves_predictions_to_what_was_measured(net: Network) -> None:
    """The machine turns out to be twice as slow where the plan is."""
    model, counts = CostModel(net, STAIRS, samples(net, 4), "cpu"), {"stem.0": 16, "inner": 16}
    before, slow = model.latency_ms(counts), 2 * true_ms(net, counts)
    model.update([(counts, slow)])
    once = model.latency_ms(counts)
    model.update([(counts, slow)] * 3)
    assert abs(once - slow) < abs(before - slow)
    assert abs(model.latency_ms(counts) - slow) < abs(once - slow)
    assert model.error.networks == 8


def test_alignment_is_that_of_the_axis(net: Network) -> None:
    model = CostModel(net, STAIRS, samples(net, 4), "cpu")
    assert {name: model.alignment(name) for name in ("stem.0", "inner", "none")} == {
        "stem.0": 8,
        "inner": 8,
        "none": 1,
    }


class Builder:
    """Makes the artifact of the residual network at given widths, and remembers which were asked for."""

    def __init__(self, net: Network, folder: Path) -> None:
        self.net, self.folder = net, folder
        self.asked: list[dict[str, int]] = []

    def __call__(self, chosen: Sequence[Mapping[str, int]]) -> list[Path]:
        return [self.one(counts) for counts in chosen]

    def one(self, counts: Mapping[str, int]) -> Path:
        self.asked.append(dict(counts))
        path = self.folder / f"{'-'.join(map(str, counts.values()))}.onnx"
        if not path.exists():
            to_onnx(residual(counts), self.net.call, path, free_batch=False)
        return path


@pytest.fixture(scope="module")
def calibrated(net: Network, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("costs")
    builder, cache = Builder(net, folder), Cache(folder / "cache")
    for device in (Cpu(), Cpu(threads=2)):  # taken as probed: that is a test of its own
        cache.save(f"stairs-padded-{device.fingerprint.key()}", {"stairs": STAIRS.record()})
    model = CostModel.calibrate(net, Cpu(), builder, networks=3, cache=cache, limit_s=0.5)
    return {"model": model, "builder": builder, "cache": cache}


def test_calibration_measures_the_original_and_others(calibrated: dict[str, Any]) -> None:
    asked = calibrated["builder"].asked
    assert asked[0] == {}
    assert len(asked) == 3
    assert all(counts.keys() == {"stem.0", "inner"} for counts in asked[1:])
    model = calibrated["model"]
    assert model.latency_ms({}) > 0
    assert model.basis in ("wall", "cpu")


def test_calibration_says_what_operators_took_in_the_runtime(calibrated: dict[str, Any]) -> None:
    """At least the linear layer's shape is nobody's to pad."""
    costs = {cost.name: cost for cost in calibrated["model"].per_operator({})}
    assert costs["linear"].measured_ms is not None
    assert costs["linear"].measured_ms > 0


def test_calibration_builds_nothing_when_it_is_cached(calibrated: dict[str, Any], net: Network) -> None:
    again = Builder(net, calibrated["builder"].folder)
    model = CostModel.calibrate(net, Cpu(), again, networks=3, cache=calibrated["cache"])
    assert again.asked == []
    assert model.latency_ms({"inner": 16}) == calibrated["model"].latency_ms({"inner": 16})


def test_calibration_does_not_take_another_devices_measurements(
    calibrated: dict[str, Any], net: Network
) -> None:
    again = Builder(net, calibrated["builder"].folder)
    cache = calibrated["cache"]
    CostModel.calibrate(net, Cpu(threads=2), again, networks=3, cache=cache, limit_s=0)
    assert len(again.asked) == 3


def test_calibration_measures_again_when_the_cache_is_damaged(
    calibrated: dict[str, Any], net: Network, tmp_path: Path
) -> None:
    cache, again = Cache(tmp_path), Builder(net, calibrated["builder"].folder)
    for path in calibrated["cache"].directory.glob(f"*-{Cpu().fingerprint.key()}*.json"):
        whole = path.read_text()
        (tmp_path / path.name).write_text(whole if path.name.startswith("stairs") else whole[:100])
    CostModel.calibrate(net, Cpu(), again, networks=3, cache=cache, limit_s=0)
    assert len(again.asked) == 3
    CostModel.calibrate(net, Cpu(), again, networks=3, cache=cache, limit_s=0)
    assert len(again.asked) == 3


def test_calibration_refuses_a_single_network(net: Network, tmp_path: Path) -> None:
    with pytest.raises(PenjingError, match="too few") as caught:
        CostModel.calibrate(net, Cpu(), Builder(net, tmp_path), networks=1, cache=Cache(tmp_path))
    assert caught.value.code == "PJ407"


def test_record_brings_back_a_model_that_predicts_the_same_to_the_last_bit(net: Network) -> None:
    given = [Sample(one.counts, one.ms, {("conv", (3, 8)): 0.1 * one.ms}) for one in samples(net, 8)]
    model = CostModel(net, STAIRS, given, "cpu")
    model.update([({"inner": 20}, 0.7)])
    again = CostModel.read(net, json.loads(json.dumps(model.record())))
    assert again.record() == model.record()
    assert (again.basis, again.error) == (model.basis, model.error)
    for unseen in samples(net, 20, seed=9):
        assert again.latency_ms(unseen.counts) == model.latency_ms(unseen.counts)
