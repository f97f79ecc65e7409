from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest

from penjing.datasets.download import fetch
from penjing.errors import PenjingError

NAME = "t10k-labels-idx1-ubyte.gz"


def checksum(path: Path) -> str:
    return hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()


def everything(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_fetch_writes_what_the_address_offers(folder: Path, address: str, tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / NAME
    fetch([address + NAME], checksum(folder / NAME), target)
    assert target.read_bytes() == (folder / NAME).read_bytes()
    assert everything(tmp_path / "a") == [target.parent, target]


def test_fetch_reads_file_addresses(folder: Path, tmp_path: Path) -> None:
    fetch([(folder / NAME).as_uri()], checksum(folder / NAME), tmp_path / NAME)
    assert checksum(tmp_path / NAME) == checksum(folder / NAME)


def test_fetch_accepts_the_same_content_packed_otherwise(folder: Path, address: str, tmp_path: Path) -> None:
    wanted = checksum(folder / NAME)
    content = gzip.decompress((folder / NAME).read_bytes())
    (folder / NAME).write_bytes(gzip.compress(content, compresslevel=0, mtime=1))
    fetch([address + NAME], wanted, tmp_path / NAME)
    assert checksum(tmp_path / NAME) == wanted


def test_fetch_leaves_nothing_behind_when_the_checksum_differs(
    folder: Path, address: str, tmp_path: Path
) -> None:
    target = tmp_path / "cache" / NAME
    with pytest.raises(PenjingError, match=r"\[PJ352\]") as caught:
        fetch([address + NAME], "0" * 64, target)
    assert checksum(folder / NAME) in caught.value.because
    assert not (tmp_path / "cache").exists()


def test_fetch_keeps_the_former_file_when_the_checksum_differs(address: str, tmp_path: Path) -> None:
    target = tmp_path / "cache" / NAME
    target.parent.mkdir()
    target.write_bytes(b"former")
    with pytest.raises(PenjingError, match=r"\[PJ352\]"):
        fetch([address + NAME], "0" * 64, target)
    assert everything(tmp_path / "cache") == [target]
    assert target.read_bytes() == b"former"


def test_fetch_goes_on_to_the_next_address_when_one_has_no_such_file(
    folder: Path, address: str, tmp_path: Path
) -> None:
    fetch([address + "elsewhere/" + NAME, address + NAME], checksum(folder / NAME), tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == (folder / NAME).read_bytes()


def test_fetch_goes_on_to_the_next_address_when_one_answers_with_a_page(
    folder: Path, address: str, tmp_path: Path
) -> None:
    (folder / "moved.html").write_text("<html>We have moved</html>")
    fetch([address + "moved.html", address + NAME], checksum(folder / NAME), tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == (folder / NAME).read_bytes()


def test_fetch_refuses_a_truncated_archive(folder: Path, address: str, tmp_path: Path) -> None:
    wanted = checksum(folder / NAME)
    (folder / NAME).write_bytes((folder / NAME).read_bytes()[:-3])
    with pytest.raises(PenjingError, match=r"\[PJ352\]") as caught:
        fetch([address + NAME], wanted, tmp_path / NAME)
    assert caught.value.because == f"{address}{NAME}: no gzip file"


def test_fetch_names_every_refusal_when_no_address_answers(address: str, tmp_path: Path) -> None:
    missing = (tmp_path / "none.gz").as_uri()
    with pytest.raises(PenjingError, match=r"\[PJ353\] cannot download t10k-labels-idx1-ubyte\.gz") as caught:
        fetch([address + "none.gz", missing, "no address"], "0" * 64, tmp_path / "cache" / NAME)
    lines = caught.value.because.splitlines()
    assert lines[0] == f"{address}none.gz: HTTP 404 File not found"
    assert lines[1].startswith(missing)
    assert lines[2].startswith("no address: ")
    assert not (tmp_path / "cache").exists()


def test_fetch_gives_one_error_when_nothing_listens(address: str, tmp_path: Path) -> None:
    with pytest.raises(PenjingError, match=r"\[PJ353\]") as caught:
        fetch(["http://127.0.0.1:1/" + NAME], "0" * 64, tmp_path / NAME)
    assert "refused" in caught.value.because


def test_fetch_gives_one_error_and_no_partial_file_when_it_cannot_write(
    folder: Path, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        assert source.exists()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(PenjingError, match=r"\[PJ353\] cannot write") as caught:
        fetch([address + NAME], checksum(folder / NAME), tmp_path / "cache" / NAME)
    assert caught.value.because == "No space left on device"
    assert everything(tmp_path / "cache") == []


def test_fetch_gives_one_error_when_a_file_stands_where_the_folder_should(
    folder: Path, address: str, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(PenjingError, match=r"\[PJ353\] cannot write"):
        fetch([address + NAME], checksum(folder / NAME), tmp_path / "cache" / NAME)
