"""`penjing report`: what a run found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penjing.cli.output import Json, draw, print_record
from penjing.report import draw as drawn
from penjing.run import read_report


def report(
    run: Annotated[Path, typer.Argument(help="The directory of a run.", show_default=False)],
    json: Json = False,
) -> None:
    """Show the report of a run."""
    record = read_report(run)
    if json:
        print_record(record.model_dump(mode="json", by_alias=True))
    else:
        draw(drawn(record))
