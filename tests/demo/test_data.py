from __future__ import annotations

from importlib import resources

import pytest
import torch

from penjing.datasets import balanced, fashion_mnist
from penjing.demo import load_data
from penjing.demo.network import MEAN, STD
from penjing.errors import PenjingError

ASSETS = resources.files("penjing.demo") / "assets" / "fashion-mnist"


@pytest.mark.parametrize(("split", "per_class"), [("train", 1000), ("test", 200)])
def test_demo_data_hold_as_many_images_of_each_class(split: str, per_class: int) -> None:
    part = load_data(split)
    assert part.labels.bincount().tolist() == [per_class] * 10
    assert tuple(part.images.shape) == (10 * per_class, 28, 28)
    assert (part.images.dtype, part.labels.dtype) == (torch.uint8, torch.int64)


def test_demo_data_are_not_in_order_of_class() -> None:
    assert len(load_data("train").labels[:100].unique()) == 10


def test_demo_data_share_no_image_between_training_and_test() -> None:
    seen = {image.numpy().tobytes() for image in load_data("train").images}
    assert len(seen) > 9_990
    assert not seen & {image.numpy().tobytes() for image in load_data("test").images}


def test_demo_data_are_normalised_by_the_constants_of_the_network() -> None:
    normalised = (load_data("train").inputs() - MEAN) / STD
    assert normalised.mean().item() == pytest.approx(0, abs=0.01)
    assert normalised.std().item() == pytest.approx(1, abs=0.01)


def test_demo_data_take_about_five_megabytes() -> None:
    assert sum(len(file.read_bytes()) for file in ASSETS.iterdir()) < 5.5e6


def test_demo_data_come_with_their_licence() -> None:
    licence = (ASSETS / "LICENSE.txt").read_text(encoding="utf-8")
    assert licence.startswith("The MIT License")
    assert "Zalando SE" in licence


def test_demo_data_have_no_third_part() -> None:
    with pytest.raises(PenjingError, match=r"\[PJ354\]"):
        load_data("validation")


@pytest.mark.slow
@pytest.mark.parametrize(("split", "per_class"), [("train", 1000), ("test", 200)])
def test_demo_data_are_what_the_seed_draws_from_the_whole_set(split: str, per_class: int) -> None:
    whole, shipped = fashion_mnist(split=split), load_data(split)
    part = whole.take(balanced(whole.labels, per_class, seed=0))
    assert torch.equal(part.images, shipped.images)
    assert torch.equal(part.labels, shipped.labels)


@pytest.mark.slow
def test_demo_constants_are_those_of_the_whole_training_set() -> None:
    pixels = fashion_mnist(split="train").images.double() / 255
    assert pixels.mean().item() == pytest.approx(MEAN, abs=5e-5)
    assert pixels.std().item() == pytest.approx(STD, abs=5e-5)
