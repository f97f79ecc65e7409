"""Draws the class-balanced part of Fashion-MNIST that ships with the package.

    python benchmarks/draw_demo_data.py --data FOLDER

Writes the four customary files, of 10,000 training and 2,000 test images, and nothing that depends on when or
where they are written: drawing again gives the same bytes wherever the same zlib packs them.
"""

from __future__ import annotations

import argparse
import gzip
import struct
from pathlib import Path

from torch import Tensor

from penjing.datasets import balanced, fashion_mnist
from penjing.datasets.images import FILES, Split

_ASSETS = Path(__file__).resolve().parent.parent / "src/penjing/demo/assets/fashion-mnist"
_PER_CLASS: dict[Split, int] = {"train": 1000, "test": 200}
_SEED = 0


def write_idx(values: Tensor, path: Path) -> None:
    """Writes unsigned bytes as a gzipped IDX file, without name and time in its header."""
    header = bytes((0, 0, 0x08, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(gzip.compress(header + values.numpy().tobytes(), 9, mtime=0))


def main() -> None:
    """Draws both parts and says what was written."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder with the four IDX files")
    parser.add_argument("--assets", type=Path, default=_ASSETS, help="where to write")
    options = parser.parse_args()
    options.assets.mkdir(parents=True, exist_ok=True)
    for split, per_class in _PER_CLASS.items():
        whole = fashion_mnist(options.data, split=split)
        part = whole.take(balanced(whole.labels, per_class, seed=_SEED))
        for values, name in zip((part.images, part.labels.byte()), FILES[split], strict=True):
            write_idx(values, options.assets / name)
            print(f"{name}: {tuple(values.shape)}, {(options.assets / name).stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
