from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.task_files import BROKEN, GOOD, RAISING


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Measurements of these tests neither come from nor go to the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PENJING_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with task files, and one run made from them."""
    folder = tmp_path_factory.mktemp("tasks")
    for name, content in (("good", GOOD), ("broken", BROKEN), ("raising", RAISING)):
        (folder / f"{name}.py").write_text(content)
    return folder
