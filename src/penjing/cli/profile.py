"""`penjing profile`: what a model costs on a device, operator by operator."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from penjing import api
from penjing.cli.inspect import Model
from penjing.cli.output import Json, draw, print_record, table
from penjing.plan.quantity import written

Threads = Annotated[int, typer.Option(help="Threads that the device may use.")]
Device = Annotated[str, typer.Option(help="Where it must run; see `penjing devices`.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Measure again what is in the cache.")]


def profile(
    model: Model, device: Device = "cpu", threads: Threads = 1, fresh: Fresh = False, json: Json = False
) -> None:
    """Measure a model on a device: the whole of it, and every operator's part."""
    task = api.load_task(model)
    record = api.profile(task.model, task.example_inputs, device=device, threads=threads, fresh=fresh)
    if json:
        print_record(record)
    else:
        draw(_headline(record), _operators(record))


def _headline(record: dict[str, Any]) -> str:
    lines = [f"{record['model']} on {record['device']['name']} ({record['device']['runtime']})"]
    if record.get("error") is not None:
        latency = written("latency", record["latency_ms"])
        lines.append(f"latency {latency}: estimated, ±{record['error']:.0%}")
        if record["energy_mj"] is not None:
            lines.append(f"energy {written('energy', record['energy_mj'])}: likewise")
    elif record["latency_ms"] is not None:
        error, runs = record["model_error"], f"median of {record['runs']} runs by {record['basis']} clock"
        known = f"median {error['median']:.1%}, worst {error['worst']:.1%}"
        lines += [
            f"latency {written('latency', record['latency_ms'])}: {runs}",
            f"sum of operators {written('latency', record['predicted_ms'])}",
            f"error of the latency model on {error['networks']} measured networks: {known}",
            f"measured on {record['measured_on']}; --fresh measures again",
        ]
    quantities = {"size": "size_bytes", "memory": "peak_memory_bytes", "macs": "macs", "params": "params"}
    lines.append(", ".join(f"{name} {written(name, record[key])}" for name, key in quantities.items()))
    return "\n".join(lines)


def _operators(record: dict[str, Any]) -> Table:
    timed = record["latency_ms"] is not None
    headings = [
        "operator",
        "module",
        "kind",
        *(["fitted", "share", "measured"] if timed else []),
        "macs",
        "output",
    ]
    return table(headings, [_row(row, timed=timed) for row in record["operators"]], left=3)


def _row(row: dict[str, Any], *, timed: bool) -> list[str]:
    name = f"{row['name']} + {', '.join(row['folds'])}" if row.get("folds") else row["name"]
    cells = [name, row["module"], row["target"].removeprefix("aten.")]
    if timed:
        measured = written("latency", row["measured_ms"]) if row["measured_ms"] is not None else ""
        cells += [written("latency", row["ms"]), f"{row['share']:.1%}", measured]
    return [*cells, written("macs", row["macs"]), "x".join(map(str, row["output"]))]
