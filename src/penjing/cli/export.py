"""`penjing export`: what is to be shipped, out of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penjing.cli.output import Json, draw, print_record
from penjing.run import export_from

Run = Annotated[Path, typer.Argument(help="The directory of a run.", show_default=False)]


def export(
    run: Run,
    to: Annotated[str, typer.Option(help="The form: onnx or pt2.")] = "onnx",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where to write; by default, named after the run.")
    ] = None,
    json: Json = False,
) -> None:
    """Copy the smaller model out of a run, in the form that a runtime takes."""
    written = export_from(run, to, output)
    if json:
        print_record({"file": str(written), "format": to, "size_bytes": written.stat().st_size})
    else:
        draw(f"{written}  {written.stat().st_size:,} bytes")
