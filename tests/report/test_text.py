from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from penjing.recover import Epoch, RecoveryRecord
from penjing.report import (
    AxisLine,
    BudgetLine,
    CandidateLine,
    DeviceFigures,
    ExportLine,
    Figures,
    ProofLine,
    Report,
    RoundLine,
    draw,
)

GOLDEN = Path(__file__).parent / "golden"


def figures(share: float, metric: float | None) -> Figures:
    return Figures(
        params=round(315_114 * share), macs=round(61_893_056 * share), size_bytes=round(1_265_046 * share),
        latency_ms=0.92 * share, wall_ms=0.92 * share, cpu_ms=0.91 * share, runs=510, spread=0.003,
        peak_memory_bytes=round(301_056 * share), metric=metric, metric_of="onnx" if metric else None,
    )  # fmt: skip


def full() -> Report:
    """A report in which every part has something to say."""
    return Report(
        penjing="0.1.0",
        model="FashionResNet",
        fallback="torch.export refuses the model",
        device=DeviceFigures(
            name="cpu", runtime="onnxruntime 1.2", threads=2, basis="cpu", provenance="measured"
        ),
        seed=3,
        budget=(
            BudgetLine(
                quantity="latency", asked="0.5x", limit=0.46, achieved=0.4508, met=True, provenance="measured"
            ),
            BudgetLine(
                quantity="size", asked="600KB", limit=6e5, achieved=619873.0, met=False, provenance="measured"
            ),
        ),
        before=figures(1, 0.9365),
        after=figures(0.49, 0.929),
        proof=ProofLine(max_error=2.4e-16, tolerance=1e-10, dtype="float64", passed=True),
        axes=(
            AxisLine(name="conv", size=32, kept=16, frozen=False, reason=None),
            AxisLine(name="stage1.0.conv1", size=32, kept=32, frozen=False, reason=None),
            AxisLine(name="classifier", size=10, kept=10, frozen=True, reason="dimension 1 of an output"),
        ),
        opaque_operators=("fft_1 (aten.fft_fft)",),
        criterion="taylor, the best that data and a loss allow",
        recovery=(
            RecoveryRecord(
                method="fine_tune",
                options={"epochs": 1},
                seconds=12.34,
                history=(
                    Epoch(epoch=0, loss=None, metric=0.3, seconds=0.1),
                    Epoch(epoch=1, loss=0.2, metric=0.93, seconds=12.3),
                ),
                notes=("the weights kept are those after epoch 1",),
            ),
        ),
        candidates=(
            CandidateLine(
                target={"latency": 0.45},
                predicted={"latency": 0.449},
                measured={"latency": 0.451},
                within=True,
            ),
        ),
        export=ExportLine(format="onnx", dynamic_batch=True, agreement=1e-7),
        costs={"median": 0.018, "worst": 0.06, "networks": 11.0},
        seconds={"trace": 1.23, "measure": 4.0, "recover": 12.34, "score": 0.01},
        environment={"python": "3.11"},
        notes=("there is no model.pt2",),
    )


def met_already() -> Report:
    """A report with as little as can be: nothing timed, nothing cut."""
    bare = {"latency_ms": None, "wall_ms": None, "cpu_ms": None, "runs": 0, "spread": None}
    bound = BudgetLine(
        quantity="macs", asked="1x", limit=61893056.0, achieved=61893056.0, met=True, provenance="analytic"
    )
    same = figures(1, None).model_copy(update=bare)
    return full().model_copy(
        update={
            "device": DeviceFigures(
                name="macs", runtime="penjing", threads=1, basis=None, provenance="analytic"
            ),
            "before": same, "after": same, "fallback": None, "recovery": (), "candidates": (), "costs": {},
            "notes": (), "opaque_operators": (), "axes": full().axes[1:],
            "budget": (bound,),
        }
    )  # fmt: skip


def rounds() -> Report:
    """A network that was cut in rounds, as far as its floor held."""
    tuned = full().recovery
    lines = [
        RoundLine(
            limits={"latency": 0.7, "units": 0.8}, measured={"latency": 0.69, "macs": 4e7}, kept={"conv": 24},
            metric=0.9361, held=True, shipped=False, recovery=tuned, notes=("`stem` is no axis",),
        ),
        RoundLine(
            limits={"latency": 0.46, "units": 0.5}, measured={"latency": 0.4508, "macs": 3e7},
            kept={"conv": 16}, metric=0.929, held=True, shipped=True, recovery=tuned,
        ),
        RoundLine(
            limits={"latency": 0.3, "units": 0.3}, measured={"latency": 0.29, "macs": 2e7}, kept={"conv": 8},
            metric=0.91, held=False, shipped=False, recovery=tuned,
        ),
    ]  # fmt: skip
    floor = BudgetLine(
        quantity="metric", asked="0.92", limit=0.92, achieved=0.929, met=True, provenance="measured"
    )
    return full().model_copy(update={"rounds": tuple(lines), "budget": (*full().budget, floor)})


def text(report: Report, **options: bool) -> str:
    console = Console(file=io.StringIO(), width=110, highlight=False)
    console.print(draw(report, **options))
    drawn = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in drawn.splitlines()) + "\n"


@pytest.mark.parametrize("name", ["full", "met_already", "rounds"])
def test_report_is_drawn_as_it_was(request: pytest.FixtureRequest, name: str) -> None:
    drawn = text({"full": full, "met_already": met_already, "rounds": rounds}[name]())
    path = GOLDEN / f"{name}.txt"
    if request.config.getoption("--rewrite-golden"):
        path.write_text(drawn, encoding="utf-8")
    assert drawn == path.read_text(encoding="utf-8")


def test_report_prints_as_it_is_drawn() -> None:
    assert str(full()) + "\n" == (GOLDEN / "full.txt").read_text(encoding="utf-8")


def test_report_leaves_the_axes_out_when_told() -> None:
    assert "stage1.0.conv1" in text(full())
    assert "stage1.0.conv1" not in text(full(), axes=False)


def test_report_survives_json() -> None:
    for report in (full(), met_already(), rounds()):
        assert Report.model_validate_json(report.to_json()) == report
    assert '"schema": 1' in full().to_json()


def test_report_without_rounds_is_read() -> None:
    record = full().model_dump(mode="json", by_alias=True)
    del record["rounds"]
    assert Report.model_validate(record) == full()


def test_report_refuses_fields_that_it_does_not_know() -> None:
    record = full().model_dump(mode="json", by_alias=True)
    for strange in ({**record, "schema": 2}, {**record, "more": 1}):
        with pytest.raises(ValueError, match="validation error"):
            Report.model_validate(strange)


def test_report_schema_page_lists_every_field() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "report-schema.md").read_text(encoding="utf-8")
    first = (Report, DeviceFigures, BudgetLine, Figures, ProofLine)
    models = (*first, AxisLine, CandidateLine, ExportLine, RecoveryRecord, RoundLine)
    for model in models:
        for name, field in model.model_fields.items():
            assert f"`{field.alias or name}`" in page, f"{model.__name__}.{name}"
