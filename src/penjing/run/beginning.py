"""What a run was begun with, as its directory tells."""

from __future__ import annotations

import json
from pathlib import Path

from penjing.errors import PenjingError
from penjing.run.journal import RECORD, STEPS
from penjing.run.recipe import Recipe, read_recipe
from penjing.run.session import JOB, RECIPE


def begun(directory: Path | str) -> tuple[Recipe, str]:
    """The recipe of a run, finished or not, and where its model is to be found from here.

    Raises:
        PenjingError: PJ603, there is no run; PJ606, its recipe is damaged.
    """
    folder = Path(directory)
    if not (folder / RECIPE).is_file():
        raise PenjingError(
            "PJ603",
            f"`{folder}` is no run",
            because=f"it holds no {RECIPE}" if folder.is_dir() else "there is no such folder",
            tries=["name a folder that `penjing prune -o` began to write"],
        )
    recipe = read_recipe(folder / RECIPE)
    return recipe, _found_from_here(recipe.model, folder)


def _found_from_here(source: str, folder: Path) -> str:
    """`file.py:task` as seen from the folder in which the run was begun."""
    file, colon, name = source.rpartition(":")
    try:
        record = json.loads((folder / STEPS / f"000-{JOB}" / RECORD).read_text(encoding="utf-8"))
        where = Path(record["record"]["where"])
    except (OSError, ValueError, KeyError, TypeError):
        return source
    return f"{where / file}:{name}" if colon and where != Path.cwd() else source
