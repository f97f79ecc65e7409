"""`penjing inspect`: what a model is made of, and what may be cut."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from penjing import api
from penjing.cli.output import Json, draw, print_record
from penjing.network import Network

Model = Annotated[
    str, typer.Argument(help="FILE.py:TASK, a function that returns a penjing.Task.", show_default=False)
]


def inspect(model: Model, json: Json = False) -> None:
    """Show operators, macs, parameters, axes, and which of them are frozen and why."""
    task = api.load_task(model)
    with Console(stderr=True).status("tracing"):
        net = api.trace(task.model, task.example_inputs)
    if json:
        print_record(inspected(net))
    else:
        draw(escape(str(net)))


def inspected(net: Network) -> dict[str, Any]:
    """A network as a record."""
    return {
        "model": type(net.model).__name__,
        "parameters": net.parameters,
        "macs": net.macs,
        "coverage": net.coverage,
        "operators": dict(Counter(operator.target for operator in net.operators).most_common()),
        "specialised": net.trace.specialised,
        "axes": [
            {
                "name": axis.name,
                "size": axis.size,
                "frozen": axis.frozen is not None,
                "reason": axis.frozen,
                "tensors": list(dict.fromkeys(member.tensor for member in axis.members)),
            }
            for axis in net.axes
        ],
        "opaque_operators": list(net.opaque),
    }
