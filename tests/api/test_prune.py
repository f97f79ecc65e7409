from __future__ import annotations

import json
import pickletools
import tomllib
import zipfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import penjing as pj
from penjing.errors import PenjingError
from penjing.report import Report
from tests.api.models import Small, accuracy, loss, patterns, small

EXAMPLE = patterns()[0][0][:4]
FILES = {
    "recipe.toml", "plan.json", "report.json", "events.jsonl", "model.safetensors", "surgery.json",
    "model.onnx", "model.pt2", "original.onnx", "manifest.json",
}  # fmt: skip


def by_macs(model: nn.Module, budget: str = "macs=0.5x", **options: Any) -> pj.Result:
    """The loop without timing: a second instead of half a minute."""
    return pj.prune(model, EXAMPLE, **{"budget": budget, "device": "macs", **options})


def test_prune_meets_every_bound_as_measured(pruned: pj.Result) -> None:
    report = pruned.report
    assert [line.quantity for line in report.budget] == ["latency", "size"]
    assert all(line.met and line.achieved <= line.limit for line in report.budget)
    assert report.after.latency_ms / report.before.latency_ms <= 0.6
    assert report.after.size_bytes / report.before.size_bytes <= 0.7
    assert report.device.basis in ("wall", "cpu")
    assert report.after.latency_ms == getattr(report.after, f"{report.device.basis}_ms")
    assert report.candidates


def test_prune_is_proven_and_says_so(pruned: pj.Result) -> None:
    assert pruned.proof.passed
    assert pruned.proof.max_error <= 1e-10
    assert pruned.report.proof.max_error == pruned.proof.max_error
    assert pruned.report.proof.dtype == "float64"


def test_prune_keeps_class_mode_and_original(pruned: pj.Result, original: Small) -> None:
    assert type(pruned.model) is Small
    assert not pruned.model.training
    assert original.inner.out_channels == 32
    assert sum(p.numel() for p in pruned.model.parameters()) == pruned.report.after.params
    assert sum(p.numel() for p in original.parameters()) == pruned.report.before.params


def test_prune_reports_the_metric_of_the_exported_files(pruned: pj.Result, saved: Path) -> None:
    report = pruned.report
    assert report.after.metric_of == "onnx"
    data = patterns(2, 64, seed=9)
    for name, metric in (("original", report.before.metric), ("model", report.after.metric)):
        session = onnxruntime.InferenceSession(saved / f"{name}.onnx")
        feed = session.get_inputs()[0].name
        hits = [np.mean(session.run(None, {feed: x.numpy()})[0].argmax(1) == y.numpy()) for x, y in data]
        assert metric == pytest.approx(np.mean(hits), abs=1e-6)
    assert report.before.metric > 0.9
    assert report.after.metric > 0.8


def test_prune_records_recovery_and_criterion(pruned: pj.Result) -> None:
    assert [step.method for step in pruned.report.recovery] == ["batch_norm", "fine_tune"]
    assert pruned.report.criterion.startswith("obs, the best")
    stages = {"trace", "score", "plan", "surgery", "recover", "measure"}
    assert all(seconds > 0 for seconds in pruned.report.seconds.values())
    assert set(pruned.report.seconds) == stages
    assert pruned.report.costs["networks"] >= 10


def test_prune_says_what_became_of_every_axis(pruned: pj.Result) -> None:
    lines = {line.name: line for line in pruned.report.axes}
    cut = {name: len(units) for name, units in pruned.plan.kept.items()}
    assert cut
    assert all(lines[name].kept == count < lines[name].size for name, count in cut.items())
    assert all(line.reason for line in lines.values() if line.frozen)
    assert any(line.frozen for line in lines.values())


def test_save_writes_the_whole_directory(pruned: pj.Result, saved: Path) -> None:
    assert {path.name for path in saved.iterdir()} == FILES
    assert Report.model_validate_json((saved / "report.json").read_text()) == pruned.report
    assert json.loads((saved / "report.json").read_text())["schema"] == 1
    assert pj.Plan.model_validate_json((saved / "plan.json").read_text()) == pruned.plan
    recipe = tomllib.loads((saved / "recipe.toml").read_text())
    assert (recipe["budget"], recipe["device"], recipe["seed"]) == ("latency=0.6x,size=0.7x", "cpu", 0)
    events = [json.loads(line) for line in (saved / "events.jsonl").read_text().splitlines()]
    assert {"stage", "candidate", "epoch", "recovered"} <= {event["event"] for event in events}


def test_save_holds_no_pickle_but_in_the_exported_program(saved: Path) -> None:
    for path in saved.iterdir():
        if path.suffix != ".pt2":  # torch's own archive
            assert not zipfile.is_zipfile(path)
            with pytest.raises(ValueError, match=r"opcode|pickle|expected"):
                list(pickletools.genops(path.read_bytes()))


def test_program_computes_what_the_model_does(pruned: pj.Result, saved: Path) -> None:
    program = torch.export.load(saved / "model.pt2").module()
    with torch.no_grad():
        torch.testing.assert_close(program(EXAMPLE), pruned.model(EXAMPLE), rtol=1e-5, atol=1e-6)


def test_save_refuses_a_directory_that_is_not_empty(pruned: pj.Result, saved: Path) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    with pytest.raises(PenjingError, match="PJ601"):
        pruned.save(saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_prune_is_deterministic_for_a_seed(original: Small) -> None:
    from penjing.recover import FineTune

    def run(seed: int) -> pj.Result:
        steps = [FineTune(epochs=1, train=patterns())]
        return by_macs(original, data=patterns(2), loss=loss, recover=steps, seed=seed, criterion="random")

    one, same, other = run(3), run(3), run(4)
    assert one.plan == same.plan != other.plan
    mine, theirs = one.model.state_dict(), same.model.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())


@pytest.mark.parametrize(
    "budget", ["macs=0.5x", "params=0.4x", "size=0.5x", "memory=0.6x", "units=0.5x", "macs=0.7x,params=0.5x",
               "macs=1M", "units=0.75x,macs=0.5x"]
)  # fmt: skip
def test_prune_meets_budgets_that_need_no_clock(original: Small, budget: str) -> None:
    report = by_macs(original, budget).report
    assert all(line.met for line in report.budget)
    assert report.after.latency_ms is None
    used = (
        max(line.achieved / line.limit for line in report.budget if line.quantity != "units")
        if "units" not in budget
        else 1.0
    )
    assert used >= 0.9
    assert report.proof.passed


def test_prune_by_units_cuts_every_axis_alike(original: Small) -> None:
    result = by_macs(original, "units=0.5x")
    assert {line.kept / line.size for line in result.report.axes if not line.frozen} == {0.5}


def test_prune_heeds_keep_only_and_exact(original: Small) -> None:
    def kept(**options: Any) -> dict[str, int]:
        return {line.name: line.kept for line in by_macs(original, **options).report.axes if not line.frozen}

    assert kept(keep=["stem*"])["stem"] == 16
    assert kept(only=["inner"], budget="macs=0.6x")["stem"] == 16
    assert kept(exact={"inner": 5})["inner"] == 5
    assert kept(exact={"inner": 0.25}, budget="macs=1x")["inner"] == 8


def test_prune_changes_nothing_when_the_budget_is_met_already(original: Small) -> None:
    for budget in ("macs=1x", "macs=2x,params=100M", "units=1x"):
        result = by_macs(original, budget, evaluate=accuracy, recover=pj.FineTune(epochs=1, train=patterns()))
        assert not result.report.changed
        assert not result.report.recovery
        assert result.report.seconds["recover"] == 0
        assert result.plan.kept == {}
        assert result.report.before.macs == result.report.after.macs
        mine = result.model.state_dict()
        assert all(torch.equal(value, mine[name]) for name, value in original.state_dict().items())


def test_prune_says_that_a_latency_met_already_is_the_originals_own(original: Small) -> None:
    result = pj.prune(original, EXAMPLE, budget="latency=1x")
    assert not result.report.changed
    assert result.report.budget[0].met
    assert result.report.before.latency_ms == result.report.after.latency_ms


@pytest.mark.parametrize(
    "wrong",
    [
        {"budget": 0.5},
        {"device": 7},
        {"criterion": 7},
        {"data": 7},
        {"seed": "a"},
        {"recover": "fine tune"},
        {"recover": ["fine tune"]},
    ],
    ids=str,
)
def test_prune_refuses_arguments_of_another_type(original: Small, wrong: dict[str, Any]) -> None:
    with pytest.raises(PenjingError, match=f"PJ106.*{next(iter(wrong))}"):
        pj.prune(original, EXAMPLE, **{"budget": "macs=0.5x", "device": "macs", **wrong})


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, "magnitude, the best without data"),
        ({"data": patterns(1)}, "obs, the best that data allow"),
        ({"data": patterns(1), "loss": loss}, "obs, the best that data allow"),
        ({"criterion": "magnitude"}, "magnitude, as asked"),
        ({"criterion": "random", "seed": 7}, "random (seed 7), as asked"),
    ],
)  # fmt: skip
def test_prune_names_the_criterion_it_took(original: Small, options: dict[str, Any], named: str) -> None:
    assert by_macs(original, **options).report.criterion == named


def test_prune_takes_the_choices_behind_a_score(original: Small) -> None:
    plans = [
        by_macs(original, normalise=normalise, aggregate=aggregate).plan
        for normalise, aggregate in ((None, "sum"), ("rank", "sum"), ("none", "mean"))
    ]
    assert len({plan.model_dump_json() for plan in plans}) > 1


def test_prune_reads_a_generator_of_data_more_than_once(original: Small) -> None:
    result = by_macs(original, data=(batch for batch in patterns(2)), loss=loss, recover=pj.BatchNorm())
    assert result.report.recovery[0].options["batches"] == 2


def test_prune_falls_back_to_the_module_where_evaluate_needs_it(original: Small) -> None:
    def evaluate(model: nn.Module) -> float:
        return model.head.weight.detach().abs().sum().item() / 100

    report = by_macs(original, evaluate=evaluate).report
    assert report.after.metric_of == "pytorch"
    assert "exported files" in report.notes[-1]


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"budget": "macs=0.0001x"}, "PJ503", "smallest reachable"),
    ({"keep": ["stemm"]}, "PJ505", "stem"),
    ({"only": ["nothing*"]}, "PJ505", ""),
    ({"keep": "stem"}, "PJ105", '["stem"]'),
    ({"device": "gpu"}, "PJ401", "cpu"),
    ({"device": "cpu", "threads": 0}, "PJ406", "threads"),
    ({"criterion": "tailor"}, "PJ301", "taylor"),
    ({"criterion": "taylor"}, "PJ302", "data"),
    ({"normalise": "norm"}, "PJ306", "rank"),
    ({"aggregate": "median"}, "PJ306", "mean"),
    ({"budget": "latency=0.5x"}, "PJ510", "macs"),
    ({"budget": "latncy=0.5x"}, "PJ501", "latency"),
    ({"budget": "macs=-1"}, "PJ502", ""),
    ({"budget": ""}, "PJ504", ""),
    ({"exact": {"stemm": 4}}, "PJ201", "stem"),
    ({"evaluate": lambda _: float("nan")}, "PJ315", "nan"),
    ({"data": [], "loss": loss, "criterion": "taylor"}, "PJ304", "batch"),
    ({"data": []}, "PJ311", "empty"),
]


@pytest.mark.parametrize(
    ("options", "code", "says"), BAD, ids=[f"{code}-{number}" for number, (_, code, _) in enumerate(BAD)]
)
def test_prune_refuses_with_one_error_and_leaves_the_model(
    original: Small, options: dict[str, Any], code: str, says: str
) -> None:
    before = deepcopy(original.state_dict())
    with pytest.raises(PenjingError) as caught:
        by_macs(original, **{"budget": "macs=0.5x", **options})
    assert caught.value.code == code
    assert says in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in original.state_dict().items())


@pytest.mark.parametrize(
    ("options", "code"), [({"keep": ["stemm"]}, "PJ505"), ({"exact": {"stem": 99}}, "PJ506")]
)
def test_prune_refuses_wrong_names_before_it_measures(
    original: Small, options: dict[str, Any], code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penjing.run.loop.Bench", None)
    with pytest.raises(PenjingError) as caught:
        by_macs(original, "macs=2x", **options)
    assert caught.value.code == code


def test_prune_leaves_a_model_in_training_mode_as_it_was_and_ships_what_it_returns(tmp_path: Path) -> None:
    model = small().train()
    before = deepcopy(model.state_dict())
    result = by_macs(model, evaluate=accuracy, recover=pj.BatchNorm(), data=patterns(2))
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    loaded = pj.load(result.save(tmp_path / "run"), small)
    assert all(torch.equal(v, loaded.state_dict()[name]) for name, v in result.model.state_dict().items())
    session = onnxruntime.InferenceSession(tmp_path / "run" / "model.onnx")
    shipped = session.run(None, {session.get_inputs()[0].name: EXAMPLE.numpy()})[0]
    with torch.no_grad():
        torch.testing.assert_close(
            result.model.eval()(EXAMPLE), torch.from_numpy(shipped), rtol=1e-5, atol=1e-5
        )


def test_prune_names_what_binds_when_the_budget_is_impossible(original: Small) -> None:
    with pytest.raises(PenjingError) as caught:
        by_macs(original, "macs=0.0001x", keep=["stem"])
    names = {axis.name for axis in pj.trace(original, EXAMPLE).axes}
    assert any(f"`{name}`" in caught.value.because for name in names)


def test_prune_refuses_nan_weights() -> None:
    model = small()
    with torch.no_grad():
        model.inner.weight[3, 0, 0, 0] = float("nan")
    with pytest.raises(PenjingError, match=r"inner\.weight") as caught:
        by_macs(model)
    assert caught.value.code == "PJ104"


@pytest.mark.parametrize(
    "example", [torch.randn(1, 2, 12, 12), torch.randn(5), (EXAMPLE, EXAMPLE), {"y": EXAMPLE}]
)
def test_prune_refuses_wrong_example_inputs(original: Small, example: Any) -> None:
    with pytest.raises(PenjingError) as caught:
        pj.prune(original, example, budget="macs=0.5x", device="macs")
    assert caught.value.code in ("PJ101", "PJ102")


@pytest.mark.parametrize("model", ["model.onnx", "model.keras", "model.pt2", "file.py:task", 3, None])
def test_prune_says_what_is_accepted_when_the_model_is_none(model: Any) -> None:
    with pytest.raises(PenjingError, match="PJ105") as caught:
        pj.prune(model, EXAMPLE, budget="macs=0.5x")
    assert any("torch.nn.Module" in way for way in caught.value.tries)


def test_prune_leaves_no_temporary_files_behind_after_an_error(
    original: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(PenjingError):
        by_macs(original, "macs=0.0001x")
    assert not list(tmp_path.iterdir())


class Distances(nn.Module):
    """Distances to prototypes: `torch.cdist` has no ONNX form."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.prototypes = nn.Linear(6, 32), nn.Parameter(torch.randn(5, 32))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cdist(self.up(x), self.prototypes)


def test_prune_ships_the_exported_program_where_there_is_no_onnx_form(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = Distances().eval(), torch.randn(2, 6)
    result = pj.prune(
        model, x, budget="params=0.5x", device="params", evaluate=lambda model: model(x).sum().item()
    )
    saved = result.save(tmp_path / "run")
    assert {path.name for path in saved.iterdir()} >= {"original.pt2", "model.pt2"}
    assert not list(saved.glob("*.onnx"))
    program = torch.export.load(saved / "model.pt2").module()
    torch.testing.assert_close(program(x), result.model(x))
    torch.testing.assert_close(pj.load(saved, Distances)(x), result.model(x))
    report = result.report
    assert report.export.format == "pt2"
    assert report.export.agreement <= 1e-6
    assert report.after.size_bytes == (saved / "model.pt2").stat().st_size
    assert report.after.metric_of == "pt2"
    assert "cdist" in report.notes[0]


def test_prune_refuses_a_model_without_onnx_form_for_a_device_that_must_run_it() -> None:
    with pytest.raises(PenjingError, match="PJ402") as caught:
        pj.prune(Distances().eval(), torch.randn(2, 6), budget="params=0.5x", device="cpu")
    assert any("--device params" in said for said in caught.value.tries)
