from __future__ import annotations

import logging
from pathlib import Path

import pytest

from penjing.devices.cache import Cache, cache_directory


def test_cache_gives_back_what_was_saved(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "deep" / "er")
    cache.save("a", {"x": [1, 2.5, "z"], "y": {"k": None}})
    assert cache.load("a") == {"x": [1, 2.5, "z"], "y": {"k": None}}
    assert [path.name for path in cache.directory.iterdir()] == ["a.json"]


def test_cache_is_empty_when_nothing_was_saved(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert Cache(tmp_path).load("a") == {}
    assert not [record for record in caplog.records if record.name.startswith("penjing")]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b'{"a": 1}trailing'])
def test_cache_is_empty_and_says_so_when_its_file_is_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert Cache(tmp_path).load("a") == {}
    assert "measuring again" in caplog.text


def test_cache_that_cannot_be_written_costs_a_note_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "taken").write_text("a file where a directory should be")
    with caplog.at_level(logging.WARNING):
        Cache(tmp_path / "taken").save("a", {"x": 1})
    assert "cannot be kept" in caplog.text


def test_cache_directory_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENJING_CACHE", str(tmp_path / "mine"))
    assert cache_directory() == tmp_path / "mine"
    monkeypatch.delenv("PENJING_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "penjing"
