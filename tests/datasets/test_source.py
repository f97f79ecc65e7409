from __future__ import annotations

import gzip
import hashlib
import shutil
from pathlib import Path

import pytest
import torch

from penjing.datasets import fashion_mnist, mnist, read_folder
from penjing.datasets.images import FILES
from penjing.datasets.mnist import FASHION_MNIST, MNIST
from penjing.datasets.source import Source, cache_folder, obtain
from penjing.errors import PenjingError


def source(folder: Path, *addresses: str) -> Source:
    sums = {
        path.name: hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest() for path in folder.iterdir()
    }
    return Source("small", addresses, sums)


def test_obtain_downloads_only_the_files_of_the_split(folder: Path, address: str, cache: Path) -> None:
    part = obtain(source(folder, address), None, "test")
    assert torch.equal(part.images, read_folder(folder, "test").images)
    assert sorted(path.name for path in (cache / "small").iterdir()) == sorted(FILES["test"])


def test_obtain_downloads_once(folder: Path, address: str, cache: Path) -> None:
    small = source(folder, address)
    first = obtain(small, None, "train")
    shutil.rmtree(folder)
    assert torch.equal(obtain(small, None, "train").images, first.images)


def test_obtain_leaves_nothing_behind_when_the_content_is_another(
    folder: Path, address: str, cache: Path
) -> None:
    small = source(folder, address)
    for name in FILES["train"]:
        (folder / name).write_bytes(gzip.compress(b"something else"))
    with pytest.raises(PenjingError, match=r"\[PJ352\]"):
        obtain(small, None, "train")
    assert not cache.exists()


def test_obtain_reads_the_named_folder_and_no_other(folder: Path, cache: Path, tmp_path: Path) -> None:
    nowhere = Source("small", (), {})
    assert len(obtain(nowhere, folder, "train")) == 6
    with pytest.raises(PenjingError, match=r"\[PJ354\] .*none"):
        obtain(nowhere, tmp_path / "none", "train")


def test_obtain_reads_the_folder_of_the_environment_before_the_installed_one(
    folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder, tmp_path / "mine" / "small")
    (tmp_path / "system" / "small").mkdir(parents=True)
    for name in FILES["train"]:
        (tmp_path / "system" / "small" / name).write_bytes(b"not read")
    monkeypatch.setenv("PENJING_DATA", str(tmp_path / "mine"))
    assert len(obtain(Source("small", (), {}), None, "train")) == 6


def test_obtain_reads_the_installed_folder_before_it_downloads(
    folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder, tmp_path / "system" / "small")
    (tmp_path / "mine").mkdir()
    monkeypatch.setenv("PENJING_DATA", str(tmp_path / "mine"))
    assert len(obtain(Source("small", (), {}), None, "train")) == 6


def test_obtain_says_so_when_the_environment_names_no_folder(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENJING_DATA", str(tmp_path / "none"))
    with pytest.raises(PenjingError, match=r"\[PJ354\] PENJING_DATA names no folder"):
        obtain(Source("small", (), {}), None, "train")


def test_obtain_refuses_an_unknown_split_before_it_looks_anywhere(cache: Path) -> None:
    with pytest.raises(PenjingError, match=r"\[PJ354\] no part is called `all`"):
        obtain(Source("small", (), {}), None, "all")


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PENJING_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "penjing" / "datasets"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "penjing" / "datasets"


@pytest.mark.parametrize("published", [FASHION_MNIST, MNIST], ids=lambda published: published.name)
def test_source_has_a_checksum_for_every_file(published: Source) -> None:
    assert set(published.sha256) == {name for names in FILES.values() for name in names}
    assert all(len(bytes.fromhex(digest)) == 32 for digest in published.sha256.values())
    assert all(address.startswith("http") and address.endswith("/") for address in published.addresses)


def test_fashion_mnist_and_mnist_look_in_folders_of_their_own(
    folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENJING_DATA", str(tmp_path / "mine"))
    shutil.copytree(folder, tmp_path / "mine" / "fashion-mnist")
    shutil.copytree(folder, tmp_path / "mine" / "mnist")
    for name in FILES["test"]:
        (tmp_path / "mine" / "mnist" / name).write_bytes(b"not an IDX file")
    assert len(fashion_mnist(split="test")) == 4
    with pytest.raises(PenjingError, match=r"\[PJ350\]"):
        mnist(split="test")


@pytest.mark.slow
@pytest.mark.parametrize("published", [FASHION_MNIST, MNIST], ids=lambda published: published.name)
def test_published_set_is_whole_and_is_the_one_of_the_checksums(published: Source) -> None:
    """Needs the sets in one of the places that are looked at, or the net."""
    for split, count in (("train", 60_000), ("test", 10_000)):
        part = obtain(published, None, split)
        assert tuple(part.images.shape) == (count, 28, 28)
        for values, name in zip((part.images, part.labels.byte()), FILES[split], strict=True):
            header = bytes((0, 0, 8, values.ndim)) + b"".join(n.to_bytes(4, "big") for n in values.shape)
            digest = hashlib.sha256(header + values.numpy().tobytes()).hexdigest()
            assert digest == published.sha256[name]
