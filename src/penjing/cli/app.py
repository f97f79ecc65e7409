"""The commands, and what is common to all of them: errors, exit codes, `--json`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from importlib import metadata
from types import MappingProxyType
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.text import Text

from penjing import processes
from penjing.cli.calibrate import calibrate
from penjing.cli.compare import compare_criteria, sensitivity
from penjing.cli.devices import criteria, devices
from penjing.cli.export import export
from penjing.cli.inspect import inspect
from penjing.cli.output import print_record
from penjing.cli.profile import profile
from penjing.cli.prune import demo, prune
from penjing.cli.report import report
from penjing.cli.resume import resume
from penjing.cli.sparse import sparse
from penjing.cli.sparsify import sparsify
from penjing.errors import PenjingError

WRONG: Final = 2
STOPPED: Final = 130

_REFUSED: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
"""What wrong usage raises. Typer has its own click, or takes the installed one: it names this child only."""

COMMANDS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "inspect": inspect,
        "devices": devices,
        "criteria": criteria,
        "compare-criteria": compare_criteria,
        "sensitivity": sensitivity,
        "profile": profile,
        "calibrate": calibrate,
        "prune": prune,
        "resume": resume,
        "export": export,
        "sparsify": sparsify,
        "sparse": sparse,
        "report": report,
        "demo": demo,
    }
)
"""Every command by its name."""


def build() -> typer.Typer:
    """The program with all its commands."""
    app = typer.Typer(
        name="penjing",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_program)
    for name, command in COMMANDS.items():
        app.command(name)(_stoppable(command))
    return app


def _stoppable(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same command; where it is stopped, what is to be said of it is not lost on the way."""

    @wraps(command)
    def called(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt as stop:
            raise typer.Abort from stop

    return called


def _version(asked: bool) -> None:
    if asked:
        print(f"penjing {metadata.version('penjing')}")
        raise typer.Exit


def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which penjing this is.")
    ] = False,
) -> None:
    """Grows a trained neural network small enough for the hardware it must live in, and proves it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: without the program's name; those of the process where it is None.

    Returns:
        0 for success, 2 for an error that the user can act on, 130 where the user stopped it.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = build()(args=given, standalone_mode=False)
    except PenjingError as error:
        if processes.is_first() or error.code == "PJ341":  # the first one tells what went wrong in any
            _show(error, as_json="--json" in given)
        return WRONG
    except _REFUSED as error:
        error.show()
        return int(error.exit_code)
    except (typer.Abort, KeyboardInterrupt) as stop:
        Console(stderr=True).print(Text(str(stop.__cause__ or stop) or "stopped"), soft_wrap=True)
        return STOPPED
    except BrokenPipeError:
        # Whoever read the output has gone; nothing is to be said, not even by the interpreter at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code if isinstance(code, int) else 0


def _show(error: PenjingError, *, as_json: bool) -> None:
    if as_json:
        print_record(error.record())
        return
    headline, *lines = str(error).splitlines()
    console = Console(stderr=True)
    console.print(Text(headline, "bold red"), soft_wrap=True)
    for line in lines:
        console.print(Text(line), soft_wrap=True)
