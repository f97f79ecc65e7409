from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch

from penjing.run.journal import Journal
from penjing.run.progress import Log

NAMES = ["first", "second", "third"]


class Told(Log):
    """Remembers what it was told."""

    def __init__(self) -> None:
        super().__init__(StringIO())
        self.kinds: list[str] = []

    def event(self, kind: str, /, **figures: Any) -> None:
        self.kinds.append(kind)


def step(done: list[str], name: str) -> Callable[[Path], dict[str, Any]]:
    def compute(folder: Path) -> dict[str, Any]:
        done.append(name)
        (folder / "inner").mkdir()
        (folder / "inner" / "file").write_bytes(name.encode())
        return {"name": name, "figure": 0.1 + 0.2, "drawn": [random.random(), torch.rand(1).item()]}

    return compute


def went(folder: Path, given: Any = None) -> tuple[list[str], list[Any]]:
    """What of three steps had to be done, and what all of them came to."""
    done: list[str] = []
    journal = Journal(folder, Told())
    entries = [journal.once(name, step(done, name), given=given) for name in NAMES]
    for name, entry in zip(NAMES, entries, strict=True):
        assert (entry.folder / "inner" / "file").read_text() == name
    assert list(journal) == NAMES
    return done, [entry.record for entry in entries]


def steps(folder: Path) -> list[Path]:
    return sorted((folder / "steps").iterdir())


def test_a_step_is_done_once_and_read_back_as_it_was(tmp_path: Path) -> None:
    done, first = went(tmp_path)
    assert done == NAMES
    assert [path.name for path in steps(tmp_path)] == ["000-first", "001-second", "002-third"]
    assert went(tmp_path) == ([], first)


def test_random_numbers_of_a_step_do_not_depend_on_what_was_done_in_this_process(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    _, whole = went(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.rmtree(steps(tmp_path / "b")[-1])
    torch.rand(7)
    assert went(tmp_path / "b") == (["third"], whole)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a file is changed": lambda path: flip(path / "inner" / "file"),
    "its record is changed": lambda path: flip(path / "record.json"),
    "a file is gone": lambda path: (path / "inner" / "file").unlink(),
    "a file is new": lambda path: (path / "other").touch(),
    "its manifest is cut off": lambda path: (path / "manifest.json").write_text("{"),
    "its manifest is gone": lambda path: (path / "manifest.json").unlink(),
    "it is gone": shutil.rmtree,
    "it is a file": lambda path: (shutil.rmtree(path), path.touch()),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("number", range(3))
def test_a_damaged_step_and_all_after_it_are_done_again(tmp_path: Path, damage: str, number: int) -> None:
    _, first = went(tmp_path)
    DAMAGE[damage](steps(tmp_path)[number])
    told = Told()
    journal = Journal(tmp_path, told)
    assert list(journal) == NAMES[:number]
    assert ("damaged" in told.kinds) == (damage != "it is gone" or number < 2)
    assert went(tmp_path) == (NAMES[number:], first)


def test_a_step_of_another_run_does_not_pass(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        went(tmp_path / name, given=name)
    shutil.rmtree(steps(tmp_path / "a")[1])
    shutil.copytree(steps(tmp_path / "b")[1], tmp_path / "a" / "steps" / "001-second")
    assert list(Journal(tmp_path / "a", Told())) == ["first"]


def test_a_step_that_depends_on_other_values_now_is_done_again(tmp_path: Path) -> None:
    went(tmp_path, given={"kept": (1, 2)})
    assert went(tmp_path, given={"kept": [1, 2]})[0] == []
    assert went(tmp_path, given={"kept": [1, 3]})[0] == NAMES


def test_a_step_that_fails_is_as_if_it_had_never_begun(tmp_path: Path) -> None:
    journal = Journal(tmp_path, Told())

    def failing(folder: Path) -> dict[str, Any]:
        (folder / "half").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        journal.once("first", failing)
    assert not steps(tmp_path)
    assert not list(journal.work.iterdir())
    assert went(tmp_path)[0] == NAMES


def test_steps_inside_of_a_step_are_kept_though_the_outer_one_fails(tmp_path: Path) -> None:
    done: list[str] = []

    def outer(fails: bool) -> Callable[[Path], dict[str, Any]]:
        def compute(_: Path) -> dict[str, Any]:
            inner = journal.once("inner", step(done, "inner")).record
            if fails:
                raise OSError("no room")
            return {"of": inner["name"]}

        return compute

    journal = Journal(tmp_path, Told())
    with pytest.raises(OSError, match="no room"):
        journal.once("outer", outer(True))
    journal = Journal(tmp_path, Told())
    assert journal.once("outer", outer(False)).record == {"of": "inner"}
    assert done == ["inner"]
    assert list(Journal(tmp_path, Told())) == ["inner", "outer"]


def test_what_is_discarded_is_done_again_with_all_after_it(tmp_path: Path) -> None:
    went(tmp_path)
    Journal(tmp_path, Told()).discard("second")
    assert went(tmp_path)[0] == NAMES[1:]


def test_times_go_on_from_those_of_the_last_step(tmp_path: Path) -> None:
    log = Log(StringIO())
    log.spent_before({"score": 40.0})
    with log.stage("score", ""):
        Journal(tmp_path, log).once("first", lambda _: {})
    later = Log(StringIO())
    Journal(tmp_path, later)
    assert 40.0 < later.seconds["score"] < 41.0


def test_drafts_that_a_killed_process_left_are_removed(tmp_path: Path) -> None:
    journal = Journal(tmp_path, Told())
    (journal.work / "first").mkdir()
    (journal.work / "first" / "half").touch()
    assert went(tmp_path)[0] == NAMES
    assert not list(journal.work.iterdir())


def test_close_leaves_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path, Told())
    journal.once("first", lambda _: {})
    journal.checkpoint("second").write({"a": torch.ones(1)}, {})
    journal.close()
    assert not list(tmp_path.iterdir())


def test_progress_of_a_step_goes_when_it_is_done_and_when_what_it_began_from_is_gone(tmp_path: Path) -> None:
    journal = Journal(tmp_path, Told())

    def outer(_: Path) -> dict[str, Any]:
        journal.checkpoint("first").write({"a": torch.ones(1)}, {})
        return {}

    journal.once("first", outer)
    assert journal.checkpoint("first").read() is None
    journal.checkpoint("second").write({"a": torch.ones(1)}, {"n": 1})
    again = Journal(tmp_path, Told()).checkpoint("second").read()
    assert again is not None
    assert again.record == {"n": 1}
    flip(steps(tmp_path)[0] / "record.json")
    assert Journal(tmp_path, Told()).checkpoint("second").read() is None


def test_manifest_names_every_file_by_its_hash(tmp_path: Path) -> None:
    went(tmp_path)
    manifest = json.loads((steps(tmp_path)[1] / "manifest.json").read_text())
    assert set(manifest["files"]) == {"record.json", "inner/file"}
