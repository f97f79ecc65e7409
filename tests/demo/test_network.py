from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest
import torch
from torch import nn

from penjing.datasets import fashion_mnist
from penjing.demo import FashionResNet, accuracy, load_data, load_network, shipped
from penjing.errors import PenjingError

ASSETS = resources.files("penjing.demo") / "assets"
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "train_demo.json"


def recorded() -> dict[str, float]:
    figures: dict[str, float] = json.loads(RESULTS.read_text(encoding="utf-8"))["accuracy"]
    return figures


def test_demo_network_gives_a_score_per_class() -> None:
    assert FashionResNet().eval()(torch.rand(3, 1, 28, 28)).shape == (3, 10)


def test_demo_network_takes_other_widths_depths_and_classes() -> None:
    network = FashionResNet(classes=4, widths=(8, 12, 20), blocks=(1, 2, 3)).eval()
    assert network(torch.rand(2, 1, 28, 28)).shape == (2, 4)
    assert [len(stage) for stage in (network.stage1, network.stage2, network.stage3)] == [1, 2, 3]


def test_demo_network_has_about_three_hundred_thousand_parameters() -> None:
    assert sum(parameter.numel() for parameter in load_network().parameters()) == 315_114


def test_demo_weights_take_less_than_a_megabyte_and_a_half() -> None:
    assert len((ASSETS / "fashion_resnet.safetensors").read_bytes()) < 1.5e6


def test_demo_network_comes_in_evaluation_mode_and_can_be_trained() -> None:
    network = load_network()
    assert not network.training
    network.train()(torch.rand(4, 1, 28, 28)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_demo_networks_share_no_memory() -> None:
    first, second = load_network(), load_network()
    with torch.no_grad():
        first.classifier.weight.zero_()
    assert second.classifier.weight.abs().sum() > 0


def test_demo_network_is_right_on_93_of_a_hundred_shipped_images() -> None:
    data = load_data("test")
    found = accuracy(load_network(), data.images, data.labels)
    assert found >= 0.93
    assert found == pytest.approx(recorded()["shipped_2000"], abs=0.001)


@pytest.mark.slow
def test_demo_network_is_right_on_93_of_a_hundred_of_the_whole_test_set() -> None:
    data = fashion_mnist(split="test")
    found = accuracy(load_network(), data.images, data.labels)
    assert found >= 0.93
    assert found == pytest.approx(recorded()["test_10000"], abs=0.001)


@pytest.mark.parametrize("content", [None, b"", b"not safetensors at all"])
def test_load_network_gives_one_error_when_the_weights_are_missing_or_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "fashion_resnet.safetensors").write_bytes(content)
    monkeypatch.setattr(shipped, "_ASSETS", tmp_path)
    with pytest.raises(PenjingError, match=r"\[PJ355\]"):
        load_network()


class Brightest(nn.Module):
    """Scores class k by the pixel k of the first row; in training, by its opposite."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        row = x[:, 0, 0]
        return -row if self.training else row


@pytest.mark.parametrize("batch", [1, 2, 3, 100])
def test_accuracy_counts_every_image_once_whatever_the_batch(batch: int) -> None:
    images = torch.tensor([[[9, 0, 0]], [[0, 9, 0]], [[0, 0, 9]], [[9, 0, 0]]], dtype=torch.uint8)
    labels = torch.tensor([0, 1, 2, 1])
    assert accuracy(Brightest(), images, labels, batch=batch) == 0.75
    assert accuracy(Brightest(), images.float().unsqueeze(1), labels, batch=batch) == 0.75


def test_accuracy_leaves_every_mode_as_it_was() -> None:
    model = nn.Sequential(Brightest(), nn.Dropout(0.5)).train()
    model[1].eval()
    accuracy(model, torch.zeros(2, 1, 3, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64))
    assert [module.training for module in model.modules()] == [True, True, False]


@pytest.mark.parametrize(("images", "labels"), [(0, 0), (2, 3)])
def test_accuracy_refuses_no_images_and_unequally_many_labels(images: int, labels: int) -> None:
    with pytest.raises(PenjingError, match=rf"\[PJ356\] .* {images} images and {labels} labels"):
        accuracy(Brightest(), torch.zeros(images, 1, 3), torch.zeros(labels, dtype=torch.int64))
