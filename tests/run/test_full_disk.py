"""A disk that is really full: a small file system of its own, in a user namespace."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.run.jobs import ROOT, environment

IN_NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]
MOUNT = 'mount -t tmpfs -o size="$1" tmpfs "$2" && shift 2 && exec "$@"'

DRIVER = """
import json, os, sys
from pathlib import Path
import penjing as pj
from penjing.run.progress import Log
from tests.run.jobs import prune, result_of

disk, at, left = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
kept = Log.event


def event(self, kind, /, **figures):
    kept(self, kind, **figures)
    if f"{kind} {figures.get('step') or figures.get('name') or ''}".strip() == at:
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        (disk / "ballast").write_bytes(bytes(max(0, free - left)))


Log.event = event
said = ""
try:
    prune(disk / "run")
except pj.PenjingError as error:
    said = str(error)
    before = sorted(path.name for path in disk.rglob("*"))
Log.event = kept
(disk / "ballast").unlink(missing_ok=True)
result = {"said": said, "before": before if said else []}
if said and (disk / "run").exists():
    prune(disk / "run")
    result["same"] = result_of(disk / "run") == result_of(Path(sys.argv[4]))
print(json.dumps(result))
"""


def on_disk(tmp_path: Path, size: str, at: str, left: int, whole: Path) -> dict[str, object]:
    disk = tmp_path / "disk"
    disk.mkdir()
    inner = [sys.executable, "-c", DRIVER, str(disk), at, str(left), str(whole)]
    command = [*IN_NAMESPACE, "sh", "-c", MOUNT, "sh", size, str(disk), *inner]
    found = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    record: dict[str, object] = json.loads(found.stdout.splitlines()[-1])
    return record


def possible() -> bool:
    if shutil.which("unshare") is None:
        return False
    tried = [*IN_NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not possible(), reason="no user namespace to mount a small disk in")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    code = f"from pathlib import Path\nfrom tests.run.jobs import prune\nprune(Path({str(folder)!r}))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment(), check=True)
    return folder


@pytest.mark.parametrize(
    ("at", "left"),
    [
        pytest.param("begin", 0, marks=pytest.mark.slow),
        pytest.param("begin", 20_000, marks=pytest.mark.slow),
        pytest.param("stage score", 4_096, marks=pytest.mark.slow),
        pytest.param("done 003-plan-candidate-1", 0, marks=pytest.mark.slow),
        ("done 005-recover-1-BatchNorm", 60_000),
        pytest.param("recovered", 8_000, marks=pytest.mark.slow),
        pytest.param("done 008-metrics", 20_000, marks=pytest.mark.slow),
        pytest.param("finished", 0, marks=pytest.mark.slow),
    ],
)
def test_a_disk_that_fills_up_on_the_way_is_said_and_survived(
    tmp_path: Path, whole: Path, at: str, left: int
) -> None:
    found = on_disk(tmp_path, "6M", at, left, whole)
    assert str(found["said"]).startswith("[PJ602]"), found
    assert 'directory="' in str(found["said"])
    assert found["same"] is True


def test_a_disk_that_is_too_small_is_told_before_with_numbers(tmp_path: Path, whole: Path) -> None:
    found = on_disk(tmp_path, "512k", "", 0, whole)
    said = str(found["said"])
    assert said.startswith("[PJ602]")
    assert "524 KB left" in said
    assert "checkpoints" in said
    assert found["before"] == []
