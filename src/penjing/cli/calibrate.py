"""`penjing calibrate`: networks to be timed on a device elsewhere, and what came back from there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penjing import api
from penjing.cli.inspect import Model
from penjing.cli.output import Json, print_record
from penjing.cli.profile import Threads
from penjing.errors import PenjingError
from penjing.run.bundle import read_measurements, write_bundle

Bundle = Annotated[Path, typer.Option(help="The folder to be carried to the device.", show_default=False)]
Measured = Annotated[
    Path | None, typer.Option(help="measurements.csv, come back from there.", show_default=False)
]
Name = Annotated[str, typer.Option(help="What the device is to be called.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="The device's file; NAME.json by default.")
]


def calibrate(
    model: Model,
    bundle: Bundle,
    measured: Measured = None,
    name: Name = "elsewhere",
    output: Output = None,
    threads: Threads = 1,
    json: Json = False,
) -> None:
    """Write networks to be timed on another device; with --measured, make it a device to plan for."""
    if measured is None:
        task = api.load_task(model)
        files = write_bundle(task.model, task.example_inputs, bundle, threads=threads)
        record = {"bundle": str(bundle), "files": len(files)}
        said = f"{len(files)} files in {bundle}: carry it to the device, and run `python3 carry.py` there"
    else:
        found = read_measurements(bundle, measured, name)
        path = output or Path(f"{name}.json")
        if path.exists():
            raise PenjingError(
                "PJ413", f"`{path}` is there already", tries=["--output another.json", f"rm {path}"]
            )
        path.write_text(found.model_dump_json(indent=1) + "\n", encoding="utf-8")
        record = {"device": str(path), "networks": len(found.networks)}
        said = f"{path}: --device {path} plans for {found.cpu}"
    if json:
        print_record(record)
    else:
        print(said)
