from __future__ import annotations

import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = (
    "cli",
    "api",
    "run",
    "report",
    "recover",
    "plan",
    "surgery",
    "devices",
    "criteria",
    "network",
    "axes",
    "errors",
)
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package and its contracts, to plant things in."""
    ignored = shutil.ignore_patterns("__pycache__", "assets")
    shutil.copytree(ROOT / "src" / "penjing", tmp_path / "penjing", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(copy: Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"]
    environment = {**os.environ, "PYTHONPATH": str(copy), "COLUMNS": "200"}
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)


def plant(copy: Path, module: str, line: str) -> None:
    """Adds an import to a module, new if need be; in a package, as a module of its own."""
    package = copy / "penjing" / module
    target = package / "planted.py" if package.is_dir() else package.with_suffix(".py")
    with target.open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")


def test_layers_hold_as_the_package_stands(copy: Path) -> None:
    outcome = lint(copy)
    assert outcome.returncode == 0, outcome.stdout
    assert "0 broken" in outcome.stdout


@pytest.mark.parametrize(("upper", "lower"), list(pairwise(LAYERS)))
def test_layers_break_when_an_upward_import_is_planted(copy: Path, upper: str, lower: str) -> None:
    plant(copy, lower, f"import penjing.{upper}")
    outcome = lint(copy)
    assert outcome.returncode == 1
    assert f"penjing.{lower} is not allowed to import penjing.{upper}" in outcome.stdout


def test_layers_break_when_an_upward_import_goes_through_the_root(copy: Path) -> None:
    plant(copy, "__init__", "import penjing.api")
    plant(copy, "axes", "import penjing")
    outcome = lint(copy)
    assert outcome.returncode == 1
    assert "penjing.axes is not allowed to import penjing.api" in outcome.stdout


@pytest.mark.parametrize(
    ("upper", "lower"), [("plan", "compress"), ("surgery", "compress"), ("compress", "devices")]
)
def test_layers_break_when_compression_leans_on_more_than_devices(copy: Path, upper: str, lower: str) -> None:
    plant(copy, lower, f"import penjing.{upper}")
    outcome = lint(copy)
    assert outcome.returncode == 1
    assert f"penjing.{lower} is not allowed to import penjing.{upper}" in outcome.stdout


@pytest.mark.parametrize("beside", ["demo", "testing"])
def test_layers_break_when_the_api_leans_on_demo_or_test_kits(copy: Path, beside: str) -> None:
    plant(copy, beside, "")
    plant(copy, "api", f"import penjing.{beside}")
    outcome = lint(copy)
    assert outcome.returncode == 1
    assert f"penjing.api is not allowed to import penjing.{beside}" in outcome.stdout


def test_layers_break_when_data_sets_know_of_networks(copy: Path) -> None:
    plant(copy, "datasets", "import penjing.network")
    outcome = lint(copy)
    assert outcome.returncode == 1
    assert "penjing.datasets is not allowed to import penjing.network" in outcome.stdout


def test_layers_break_when_a_package_has_no_place(copy: Path) -> None:
    (copy / "penjing" / "elsewhere.py").write_text("", encoding="utf-8")
    outcome = lint(copy)
    assert outcome.returncode == 1
    assert "penjing.elsewhere" in outcome.stdout


def test_layers_have_no_module_named_after_nothing() -> None:
    modules = (ROOT / "src" / "penjing").rglob("*.py")
    assert not [path for path in modules if FORBIDDEN_NAMES & {*path.parts, path.stem}]
