"""The scripts that made what ships, run on little data."""

from __future__ import annotations

import importlib.util
import json
import sys
from importlib import resources
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

from penjing.datasets import balanced, read_folder
from penjing.datasets.images import FILES
from penjing.demo import FashionResNet, load_data

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def little(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 12 images of each class to train on, and 2 to test."""
    folder = tmp_path_factory.mktemp("little")
    draw = script("draw_demo_data")
    for split, per_class in (("train", 12), ("test", 2)):
        whole = load_data(split)
        part = whole.take(balanced(whole.labels, per_class, seed=0))
        for values, name in zip((part.images, part.labels.byte()), FILES[split], strict=True):
            draw.write_idx(values, folder / name)
    return folder


def run(module: ModuleType, monkeypatch: pytest.MonkeyPatch, *options: object) -> None:
    monkeypatch.setattr(sys, "argv", ["script", *map(str, options)])
    module.main()


def test_draw_demo_data_draws_the_whole_of_what_it_drew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assets = resources.files("penjing.demo") / "assets" / "fashion-mnist"
    run(script("draw_demo_data"), monkeypatch, "--data", assets, "--assets", tmp_path / "new")
    for split in FILES:
        drawn, shipped = read_folder(tmp_path / "new", split), load_data(split)
        assert torch.equal(drawn.images, shipped.images)
        assert torch.equal(drawn.labels, shipped.labels)


def test_train_demo_writes_weights_and_figures(
    little: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = ["--weights", tmp_path / "w.safetensors", "--results", tmp_path / "r.json"]
    train = script("train_demo")
    monkeypatch.setattr(train, "load_data", lambda split: read_folder(little, split))
    run(train, monkeypatch, "--data", little, *written, "--epochs", 2, "--batch", 40)
    FashionResNet().load_state_dict(load_file(tmp_path / "w.safetensors"))
    record = json.loads((tmp_path / "r.json").read_text())
    assert [line["epoch"] for line in record["history"]] == [1, 2]
    assert record["options"]["seed"] == 0
    assert record["weights_bytes"] == (tmp_path / "w.safetensors").stat().st_size
    record["accuracy"] = None
    (tmp_path / "r.json").write_text(json.dumps(record))
    before = (tmp_path / "w.safetensors").read_bytes()
    run(train, monkeypatch, "--data", little, *written, "--evaluate")
    again = json.loads((tmp_path / "r.json").read_text())
    assert set(again["accuracy"]) == {"test_10000", "shipped_2000"}
    assert again["history"] == record["history"]
    assert (tmp_path / "w.safetensors").read_bytes() == before


def test_train_demo_is_the_same_for_a_seed(
    little: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = script("train_demo")
    monkeypatch.setattr(train, "load_data", lambda split: read_folder(little, split))
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        written = ["--weights", tmp_path / name, "--results", tmp_path / "r.json"]
        run(train, monkeypatch, "--data", little, *written, "--epochs", 1, "--batch", 60, "--seed", seed)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()


def test_augment_shifts_mirrors_and_blanks_but_invents_nothing() -> None:
    """Where all pixels differ, each comes from one shift of the image or its mirror image, or is 0."""
    image = torch.arange(1, 101, dtype=torch.uint8).reshape(10, 10)
    drawn = script("train_demo").augment(
        image.expand(400, 10, 10), shift=2, hole=3, generator=torch.Generator().manual_seed(0)
    )
    padded = {flip: torch.nn.functional.pad(image.flip(1) if flip else image, (2,) * 4) for flip in (0, 1)}
    allowed = {
        (flip, top, left): padded[flip][top : top + 10, left : left + 10]
        for flip in (0, 1)
        for top in range(5)
        for left in range(5)
    }
    met = set()
    for result in drawn:
        fits = [key for key, whole in allowed.items() if bool(((result == whole) | (result == 0)).all())]
        assert len(fits) == 1
        met.add(fits[0])
        rows, columns = ((result == 0) & (allowed[fits[0]] != 0)).nonzero(as_tuple=True)
        assert len(rows) <= 9
        if len(rows):
            assert rows.max() - rows.min() < 3
            assert columns.max() - columns.min() < 3
    assert met == set(allowed)
