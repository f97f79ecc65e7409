"""A report as text: tables for a terminal."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterator

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from penjing.plan.quantity import written
from penjing.report.record import BudgetLine, Figures, Report, RoundLine

_ROWS = (
    ("latency", "latency_ms"),
    ("cycles", "cycles"),
    ("energy", "energy_mj"),
    ("macs", "macs"),
    ("params", "params"),
    ("size", "size_bytes"),
    ("memory", "peak_memory_bytes"),
)


def draw(report: Report, *, axes: bool = True) -> Group:
    """The whole report, or with `axes=False` without the table of axes."""
    parts: list[RenderableType] = [_headline(report), figures(report), *_lines(report)]
    if axes:
        parts += [Text(), _axes(report), *_frozen(report)]
    return Group(*parts)


def plain(report: Report, *, width: int = 110) -> str:
    """The whole report without colours."""
    console = Console(file=io.StringIO(), width=width, highlight=False, color_system=None)
    with console.capture() as drawn:
        console.print(draw(report))
    return "\n".join(line.rstrip() for line in drawn.get().splitlines())


def figures(report: Report) -> Table:
    """Before and after, side by side, with the bounds."""
    bounds = {line.quantity: line for line in report.budget}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("", "before", "after", "ratio", "budget", ""):
        table.add_column(heading, justify="right" if heading else "left")
    for quantity, field in _ROWS:
        before, after = getattr(report.before, field), getattr(report.after, field)
        if before is None or after is None:
            continue
        line = bounds.get(quantity)
        table.add_row(
            quantity,
            written(quantity, before),
            written(quantity, after),
            f"{after / before:.3f}x" if before else "",
            f"{line.asked} = {written(quantity, line.limit)}" if line else "",
            _verdict(line) if line else "",
        )
    if report.before.metric is not None and report.after.metric is not None:
        change = f"{report.after.metric - report.before.metric:+.4f}"
        floor = bounds.get("metric")
        table.add_row(
            "metric",
            f"{report.before.metric:.4f}",
            f"{report.after.metric:.4f}",
            change,
            f"at least {floor.limit:.4f}" if floor else "",
            _verdict(floor) if floor else "",
        )
    return table


def _verdict(line: BudgetLine) -> Text:
    if not line.within:
        return Text("not met", style="bold red")
    if not line.met:
        return Text(f"within, by an estimate (±{line.error or 0:.0%})", style="yellow")
    return Text("met", style="green")


def _headline(report: Report) -> Text:
    device = report.device
    threads = _number(device.threads, "thread")
    text = Text.assemble((report.model, "bold"), f" on {device.name} ({device.runtime}, {threads})")
    if not report.changed:
        text.append("\nthe budget is met already: nothing was changed", "yellow")
    return text


def _lines(report: Report) -> Iterator[Text]:
    """What stands below the figures."""
    proof = report.proof
    outcome = "equals the masked original" if proof.passed else "differs from the masked original"
    yield _line(
        "proof", f"{outcome} to {proof.max_error:.1e} in {proof.dtype} (allowed: {proof.tolerance:.0e})"
    )
    yield _line("timing", _timing(report))
    if report.after.metric_of:
        yield _line("metric", f"of the {_artifact(report.after)}")
    yield _line("criterion", report.criterion)
    for number, name in enumerate(report.dropped):
        yield _line("" if number else "dropped", name)
    for number, line in enumerate(report.rounds, 1):
        yield _line("rounds" if number == 1 else "", _round(number, line))
    for step in report.recovery:
        epochs = f"{_number(len(step.history) - 1, 'epoch')}, " if step.history else ""
        yield _line("recovery", f"{step.method.replace('_', ' ')}: {epochs}{step.seconds:.1f} s")
        for note in step.notes:
            yield _line("", note)
    if report.candidates:
        yield _line("adjusted", f"{_number(len(report.candidates), 'network')} measured on the way")
    if report.costs:
        known = f"median error {report.costs['median']:.1%}, worst {report.costs['worst']:.1%}"
        yield _line("cost model", f"{known} on {report.costs['networks']:.0f} measured networks")
    if report.fallback:
        yield _line("fallback", f"the result is the rewritten graph: {report.fallback}")
    for name in report.opaque_operators:
        yield _line("opaque", name)
    for note in report.notes:
        yield _line("note", note)
    stages = ", ".join(
        f"{stage} {seconds:.1f}" for stage, seconds in report.seconds.items() if seconds >= 0.05
    )
    yield _line("seconds", stages)


def _round(number: int, line: RoundLine) -> str:
    """One line of what was tried, with its figures and what became of it."""
    bounded = [name for name in line.limits if name in line.measured]
    shares = [
        f"{name} {written(name, limit)}" for name, limit in line.limits.items() if name not in line.measured
    ]
    figures = [f"{name} {written(name, line.measured[name])}" for name in bounded] + shares
    metric = [] if line.metric is None else [f"metric {line.metric:.4f}"]
    fate = "; this one" if line.shipped else "; below the floor" if line.held is False else ""
    return f"{number}: {', '.join([*figures, *metric])}{fate}" + "".join(f" ({note})" for note in line.notes)


def _timing(report: Report) -> str:
    if report.after.runs == 0 or report.device.provenance != "measured":
        return report.device.provenance
    clock = {"wall": "wall clock", "cpu": "CPU time, the machine being busy", None: ""}[report.device.basis]
    spread = f", spread {report.after.spread:.1%}" if report.after.spread is not None else ""
    return f"interleaved medians of {report.after.runs} runs by {clock}{spread}"


def _artifact(figures: Figures) -> str:
    return {
        "onnx": "exported ONNX file",
        "pt2": "exported program",
        "aoti.pt2": "compiled package",
        "tflite": "exported LiteRT file",
        "pte": "exported ExecuTorch file",
        "hls.zip": "emulated hls4ml project",
        "pytorch": "PyTorch module",
        None: "",
    }[figures.metric_of]


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _line(label: str, text: str) -> Text:
    return Text.assemble((f"{label:<11}", "dim"), text)


def _axes(report: Report) -> Table:
    """Every axis that could be cut."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("axis", "units", "kept", "share"):
        table.add_column(heading, justify="left" if heading == "axis" else "right")
    for axis in report.axes:
        if not axis.frozen:
            table.add_row(axis.name, str(axis.size), str(axis.kept), f"{axis.kept / axis.size:.2f}")
    return table


def _frozen(report: Report) -> Iterator[Text]:
    """Frozen axes by reason."""
    names: dict[str, list[str]] = defaultdict(list)
    for axis in report.axes:
        if axis.frozen:
            names[axis.reason or ""].append(f"{axis.name} ({axis.size})")
    for reason, group in names.items():
        more = f" and {len(group) - 4} more" if len(group) > 4 else ""
        yield _line("frozen", f"{reason}: {', '.join(group[:4])}{more}")
