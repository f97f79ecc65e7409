from __future__ import annotations

import dataclasses
import gzip
from pathlib import Path

import pytest
import torch

from penjing.datasets import LabelledImages, read_folder
from penjing.errors import PenjingError


def test_read_folder_gives_bytes_and_wide_labels(folder: Path) -> None:
    part = read_folder(folder, "test")
    assert (part.images.dtype, tuple(part.images.shape)) == (torch.uint8, (4, 5, 4))
    assert (part.labels.dtype, part.labels.tolist()) == (torch.int64, [0, 1, 2, 0])
    assert len(part) == 4


def test_read_folder_reads_the_training_part_unless_told_otherwise(folder: Path) -> None:
    assert len(read_folder(folder)) == 6


def test_read_folder_reads_unpacked_files_too(folder: Path) -> None:
    packed = read_folder(folder)
    for path in folder.glob("train-*.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    assert torch.equal(read_folder(folder).images, packed.images)


def test_read_folder_names_the_missing_file(folder: Path) -> None:
    (folder / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(PenjingError, match=r"\[PJ354\] .* holds no train-labels-idx1-ubyte\.gz"):
        read_folder(folder)


def test_read_folder_says_so_when_there_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(PenjingError, match=r"the folder does not exist"):
        read_folder(tmp_path / "none")


def test_read_folder_refuses_images_of_one_part_with_labels_of_another(folder: Path) -> None:
    (folder / "t10k-labels-idx1-ubyte.gz").replace(folder / "train-labels-idx1-ubyte.gz")
    with pytest.raises(PenjingError, match=r"\[PJ354\] .* do not belong together") as caught:
        read_folder(folder)
    assert (
        caught.value.because == "train-images-idx3-ubyte.gz is (6, 5, 4), train-labels-idx1-ubyte.gz is (4,)"
    )


def test_read_folder_refuses_an_unknown_split(folder: Path) -> None:
    with pytest.raises(PenjingError, match=r"\[PJ354\] no part is called `valid`") as caught:
        read_folder(folder, "valid")
    assert caught.value.tries == ('split="train"', 'split="test"')


def test_labelled_images_are_frozen() -> None:
    part = LabelledImages(torch.zeros(1, 2, 2, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64))
    with pytest.raises(dataclasses.FrozenInstanceError):
        part.labels = torch.ones(1)


def test_labelled_images_inputs_span_zero_to_one_and_leave_the_bytes_alone() -> None:
    images = torch.tensor([[[0, 51], [102, 255]]], dtype=torch.uint8)
    part = LabelledImages(images, torch.tensor([3]))
    assert part.inputs().tolist() == [[[[0.0, pytest.approx(0.2)], [pytest.approx(0.4), 1.0]]]]
    assert part.images.tolist() == [[[0, 51], [102, 255]]]


def test_labelled_images_take_keeps_each_image_with_its_label() -> None:
    images = torch.arange(5, dtype=torch.uint8)[:, None, None].expand(5, 2, 2)
    taken = LabelledImages(images, torch.arange(5)).take(torch.tensor([4, 0, 2]))
    assert taken.images[:, 0, 0].tolist() == taken.labels.tolist() == [4, 0, 2]
