from __future__ import annotations

import os
from pathlib import Path

import pytest

from penjing.errors import PenjingError
from penjing.run.directory import check_target, opened, publish


def staged(tmp_path: Path) -> Path:
    folder = tmp_path / "staged"
    (folder / "inner").mkdir(parents=True)
    (folder / "plan.json").write_text("{}")
    (folder / "inner" / "more").write_bytes(b"\0\1")
    return folder


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("target", ["new", "new/deep/er", "empty"])
def test_check_leaves_nothing_behind(tmp_path: Path, target: str) -> None:
    (tmp_path / "empty").mkdir()
    before = everything(tmp_path)
    assert check_target(tmp_path / target) == tmp_path / target
    assert everything(tmp_path) == before


@pytest.mark.parametrize("target", ["new", "new/deep/er", "empty"])
def test_publish_writes_all_and_nothing_else(tmp_path: Path, target: str) -> None:
    (tmp_path / "empty").mkdir()
    source = staged(tmp_path)
    written = publish(source, tmp_path / target)
    assert everything(written) == everything(source) == {"plan.json", "inner", "inner/more"}
    assert (written / "inner" / "more").read_bytes() == b"\0\1"
    assert not [name for name in everything(tmp_path) if "/." in name or name.startswith(".")]


def test_check_refuses_a_folder_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(PenjingError, match="not empty") as caught:
        check_target(tmp_path)
    assert caught.value.code == "PJ601"
    with pytest.raises(PenjingError, match="not empty"):
        publish(staged(tmp_path), tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_check_refuses_a_file(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(PenjingError, match="is a file") as caught:
        check_target(tmp_path / "run")
    assert caught.value.code == "PJ601"


def test_check_refuses_a_place_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(PenjingError) as caught:
        check_target(tmp_path / "file" / "run")
    assert caught.value.code == "PJ602"


@pytest.mark.parametrize("target", ["/proc/run", "/proc/self/deep/run", "/sys/run"])
@pytest.mark.skipif(
    not Path("/proc/self").exists(), reason="a file system that even the superuser cannot write"
)
def test_check_refuses_what_cannot_be_written(target: str) -> None:
    with pytest.raises(PenjingError) as caught:
        check_target(target)
    assert caught.value.code == "PJ602"


@pytest.mark.skipif(os.geteuid() == 0, reason="permission bits do not bind the superuser")
def test_check_refuses_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PenjingError, match="PJ602"):
        check_target(tmp_path / "run")


def test_publish_leaves_nothing_when_the_copy_fails(tmp_path: Path) -> None:
    source = staged(tmp_path)
    (source / "dangling").symlink_to(tmp_path / "nowhere")
    before = everything(tmp_path)
    with pytest.raises(PenjingError) as caught:
        publish(source, tmp_path / "run")
    assert caught.value.code == "PJ602"
    assert everything(tmp_path) == before


def test_opened_names_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("{}")
    assert opened(tmp_path, "plan.json") == tmp_path
    with pytest.raises(PenjingError, match=r"report\.json") as caught:
        opened(tmp_path, "plan.json", "report.json")
    assert caught.value.code == "PJ603"
    with pytest.raises(PenjingError, match="no such folder"):
        opened(tmp_path / "absent", "plan.json")
